//! Adding members to a request body without touching a byte of what the client sent.

use bytes::{BufMut, Bytes, BytesMut};

use crate::request::RequestFacts;

/// The body with `members` (JSON text such as `"bootstrap_room":7`, no braces) added at its end, where they win over
/// a member of the same name because engines take the last. `None` when the body is not one JSON object.
///
/// ```
/// use router_core::Route;
/// use router_protocol::{scan, splice};
/// let body = br#"{"text":"hi"}"#;
/// let out = splice(body, &scan(Route::Generate, body), r#""rid":"r1""#);
/// assert_eq!(out.as_deref(), Some(&br#"{"text":"hi","rid":"r1"}"#[..]));
/// ```
pub fn splice(body: &[u8], facts: &RequestFacts<'_>, members: &str) -> Option<Bytes> {
    let (before, after) = body.split_at_checked(facts.closing_brace?)?;
    let mut out = BytesMut::with_capacity(body.len() + members.len() + 1);
    out.put_slice(before);
    if !facts.empty && !members.is_empty() {
        out.put_u8(b',');
    }
    out.put_slice(members.as_bytes());
    out.put_slice(after);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::scan;
    use router_core::Route;

    #[test]
    fn the_result_is_json_with_the_new_value() {
        for body in [r#"{}"#, r#"{ "rid" : "old" } "#, r#"{"text":"}"}"#] {
            let out =
                splice(body.as_bytes(), &scan(Route::Generate, body.as_bytes()), r#""rid":"new""#).unwrap();
            let v: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(v["rid"], "new", "{body}");
        }
        assert_eq!(splice(b"[1]", &scan(Route::Generate, b"[1]"), r#""a":1"#), None);
    }
}
