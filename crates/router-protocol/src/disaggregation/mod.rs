//! One request on two servers, one that reads the prompt and one that writes the answer: what either is told in the
//! request's body, and what goes from one answer into the other.
//!
//! Nothing is parsed into a tree and nothing written anew: a member is added at the body's end or its value replaced,
//! and values are put where an answer left them empty.

mod logprobs;

pub use logprobs::{InputLogprobs, LogprobsMerger};

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use router_core::Route;

use crate::json::Reader;
use crate::request::RequestFacts;

/// Most prompts (or answers) of one request that are split; their rooms are listed in the body.
pub const MAX_ROOMS: u32 = 65_536;

/// Members that only the router may set: they name a server to connect to, and memory to read there.
const RESERVED: [&str; 4] = ["bootstrap_host", "bootstrap_port", "bootstrap_room", "kv_transfer_params"];

/// What a body says that matters only when its request is split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SplitFacts {
    /// The first member that only the router may set, if the body sets one.
    pub reserved: Option<&'static str>,
    /// Whether the client wants the logprobs of its prompt, which the prefill's answer alone has.
    pub input_logprobs: bool,
    /// The data-parallel rank that the client chose (`data_parallel_rank`).
    pub rank: Option<u64>,
}

/// Reads what matters only when a request is split. Never fails: of a body that is not JSON nothing is known.
pub fn split_facts(body: &[u8]) -> SplitFacts {
    let mut facts = SplitFacts::default();
    let mut reader = Reader::new(body);
    let read = reader.fields(|key, r| {
        if key == b"return_logprob" {
            // One for all prompts, or a list of one per prompt.
            let raw = r.raw()?;
            facts.input_logprobs = raw == b"true" || (raw.starts_with(b"[") && contains(raw, b"true"));
            return Ok(());
        }
        if key == b"data_parallel_rank" {
            facts.rank = r.whole_number()?;
            return Ok(());
        }
        let raw = r.raw()?;
        if let Some(name) = RESERVED.iter().find(|name| name.as_bytes() == key)
            && raw != b"null"
            && facts.reserved.is_none()
        {
            facts.reserved = Some(name);
        }
        Ok(())
    });
    read.map_or(SplitFacts::default(), |()| facts)
}

/// The room nearest to `room` that SGLang serves on data-parallel rank `rank` of `size`: it takes a room to the rank that
/// is its number's remainder, and refuses a request that names another one.
///
/// ```
/// use router_protocol::disaggregation::room_on_rank;
/// assert_eq!(room_on_rank(1003, 1, 4), 1001);
/// assert_eq!(room_on_rank(i64::MAX as u64, 0, 2), i64::MAX as u64 - 1);
/// ```
pub const fn room_on_rank(room: u64, rank: u64, size: u64) -> u64 {
    if rank >= size {
        // There is no such rank; the engine says so.
        return room;
    }
    let on = room - room % size + rank;
    if on > i64::MAX as u64 { on - size } else { on }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(text, word).is_some()
}

/// How many rooms a request takes; `None` when it is one that is not a list. SGLang wants a list of rooms exactly
/// where the prompts are a list, and where a chat asks for several answers.
pub fn bootstrap_rooms(route: Route, facts: &RequestFacts<'_>) -> Option<u32> {
    if route == Route::ChatCompletions {
        return (facts.choices > 1).then_some(facts.choices);
    }
    let mut prompt = facts.prompt?.iter().filter(|b| !b.is_ascii_whitespace());
    let list = match (prompt.next(), prompt.next()) {
        (Some(b'['), Some(b'"')) => true,
        // Lists of lists are prompts of token ids; one prompt of embeddings looks alike and has no token count.
        (Some(b'['), Some(b'[')) => facts.batch > 1 || facts.prompt_tokens.is_some(),
        _ => facts.batch > 1,
    };
    list.then_some(facts.batch)
}

/// Where a decode server of SGLang meets the prefill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootstrapServer<'a> {
    /// The prefill server's host; an IPv6 address in brackets.
    pub host: &'a str,
    /// The port of its bootstrap server; without one, the decode server uses its own setting.
    pub port: Option<u16>,
}

/// The members that both legs get: scalars, or lists of `rooms` entries each. `room` gives the number of each room.
///
/// ```
/// use router_protocol::disaggregation::{BootstrapServer, bootstrap_members, set_members};
/// let members = bootstrap_members(BootstrapServer { host: "10.0.0.1", port: None }, None, || 7);
/// let body = set_members(br#"{"text":"hi","bootstrap_port":9}"#, &members).unwrap();
/// assert_eq!(
///     body,
///     r#"{"text":"hi","bootstrap_port":null,"bootstrap_host":"10.0.0.1","bootstrap_room":7}"#
/// );
/// ```
pub fn bootstrap_members(
    at: BootstrapServer<'_>,
    rooms: Option<u32>,
    mut room: impl FnMut() -> u64,
) -> [(&'static str, String); 3] {
    let host = serde_json::Value::from(at.host).to_string();
    let port = at.port.map_or_else(|| "null".to_owned(), |port| port.to_string());
    [
        ("bootstrap_host", values(rooms, || host.clone())),
        ("bootstrap_port", values(rooms, || port.clone())),
        ("bootstrap_room", values(rooms, || room().to_string())),
    ]
}

fn values(count: Option<u32>, mut value: impl FnMut() -> String) -> String {
    let Some(count) = count else { return value() };
    let all: Vec<_> = (0..count).map(|_| value()).collect();
    format!("[{}]", all.join(","))
}

/// The body with each of `members` (a name and its value as JSON) set: its value where it has one, else a new member
/// at the end. All other bytes stay as they are. `None` when the body is not one JSON object.
pub fn set_members<V: AsRef<str>>(body: &[u8], members: &[(&str, V)]) -> Option<Bytes> {
    let mut reader = Reader::new(body);
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

/// What makes a vLLM server read the prompt, keep what it computed for another one, and say where.
const KEEP: &str = concat!(
    "{\"do_remote_decode\":true,\"do_remote_prefill\":false,\"remote_engine_id\":null,",
    "\"remote_block_ids\":null,\"remote_host\":null,\"remote_port\":null}"
);

/// What is set in a request so that a vLLM server only reads the prompt: one token, no stream, and whatever the client
/// said about either taken back.
pub const fn vllm_prefill_members(route: Route) -> &'static [(&'static str, &'static str)] {
    const ALL: &[(&str, &str)] = &[
        ("kv_transfer_params", KEEP),
        ("stream", "false"),
        ("stream_options", "null"),
        ("max_tokens", "1"),
        ("min_tokens", "0"),
        ("max_completion_tokens", "1"),
    ];
    match route {
        Route::ChatCompletions => ALL,
        // Completions know no other bound.
        _ => ALL.split_at(ALL.len() - 1).0,
    }
}

/// `kv_transfer_params` of a vLLM prefill's answer, as it stands there: where the decode server finds the prompt's
/// memory. `None` when the answer has none; the decode server then reads the prompt itself.
pub fn kv_transfer_params(answer: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let read = Reader::new(answer).fields(|key, r| {
        let raw = r.raw()?;
        if key == b"kv_transfer_params" && raw.starts_with(b"{") {
            found = Some(raw);
        }
        Ok(())
    });
    read.ok().and(found)
}
