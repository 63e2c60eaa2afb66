//! Setting members of a request body without touching any other byte.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::json::JsonReader;

/// The body with each of `members` (a name and its value as JSON) set: its value where it has one, else a new member
/// at the end. All other bytes stay as they are. `None` when the body is not one JSON object.
pub fn set_members<V: AsRef<str>>(body: &[u8], members: &[(&str, V)]) -> Option<Bytes> {
    let mut reader = JsonReader::new(body);
    if reader.peek() != Ok(b'{') {
        return None;
    }
    let mut found: Vec<(Range<usize>, usize)> = Vec::new();
    let mut empty = true;
    let read = reader.fields(|key, r| {
        empty = false;
        r.peek()?;
        let start = r.offset();
        r.skip()?;
        if let Some(n) = members.iter().position(|(name, _)| name.as_bytes() == key) {
            found.push((start..r.offset(), n));
        }
        Ok(())
    });
    read.ok()?;
    let brace = reader.offset() - 1;
    if !reader.at_end() {
        return None;
    }
    let added: usize = members.iter().map(|(name, value)| name.len() + value.as_ref().len() + 4).sum();
    let mut out = BytesMut::with_capacity(body.len() + added);
    let mut at = 0;
    for (range, n) in &found {
        out.put_slice(&body[at..range.start]);
        out.put_slice(members[*n].1.as_ref().as_bytes());
        at = range.end;
    }
    out.put_slice(&body[at..brace]);
    for (n, (name, value)) in members.iter().enumerate() {
        if found.iter().any(|(_, set)| *set == n) {
            continue;
        }
        out.put_slice(if std::mem::take(&mut empty) { b"\"" } else { b",\"" });
        out.put_slice(name.as_bytes());
        out.put_slice(b"\":");
        out.put_slice(value.as_ref().as_bytes());
    }
    out.put_slice(&body[brace..]);
    Some(out.freeze())
}

/// The body for data-parallel rank `rank` of an SGLang server, whatever rank the client asked for. `None` when it is not
/// one JSON object.
///
/// Every version with ranks reads `data_parallel_rank`. Later ones call it `routed_dp_rank` and read that name first, so it
/// is set where the client set it.
///
/// ```
/// use router_protocol::set_rank;
/// assert_eq!(set_rank(br#"{"text":"hi"}"#, 3).unwrap(), r#"{"text":"hi","data_parallel_rank":3}"#);
/// assert_eq!(
///     set_rank(br#"{"routed_dp_rank":0,"text":"hi"}"#, 3).unwrap(),
///     r#"{"routed_dp_rank":3,"text":"hi","data_parallel_rank":3}"#
/// );
/// ```
pub fn set_rank(body: &[u8], rank: u32) -> Option<Bytes> {
    let rank = rank.to_string();
    let members = [("data_parallel_rank", &rank), ("routed_dp_rank", &rank)];
    let later = memchr::memmem::find(body, b"\"routed_dp_rank\"").is_some();
    set_members(body, &members[..if later { 2 } else { 1 }])
}
