//! How SGLang's two servers find each other: a bootstrap server on the prefill's side, and a room for each prompt.

use router_core::Route;

use crate::request::RequestFacts;

/// Most prompts (or choices) of a request that is split; the body lists a room for each.
pub const MAX_ROOMS: u32 = 65_536;

/// How many rooms a request takes; `None` for one room that is not in a list. SGLang expects a list of rooms exactly
/// where the prompts are a list, and where a chat asks for several choices.
pub fn bootstrap_rooms(route: Route, facts: &RequestFacts<'_>) -> Option<u32> {
    if route == Route::ChatCompletions {
        return (facts.choices > 1).then_some(facts.choices);
    }
    let mut prompt = facts.prompt?.iter().filter(|b| !b.is_ascii_whitespace());
    let list = match (prompt.next(), prompt.next()) {
        (Some(b'['), Some(b'"')) => true,
        // Lists of lists are prompts of token ids; one prompt of embeddings looks the same but has no token count.
        (Some(b'['), Some(b'[')) => facts.batch > 1 || facts.prompt_tokens.is_some(),
        _ => facts.batch > 1,
    };
    list.then_some(facts.batch)
}

/// The bootstrap server, where a decode server of SGLang asks for the prefill's keys and values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootstrapServer<'a> {
    /// The prefill server's host; an IPv6 address in brackets.
    pub host: &'a str,
    /// The port of its bootstrap server; without one, the decode server uses its own setting.
    pub port: Option<u16>,
}

/// The members to set for both servers: scalars, or lists of `rooms` entries each. `room` returns the number of each
/// room.
///
/// ```
/// use router_protocol::disaggregation::{BootstrapServer, bootstrap_members};
/// use router_protocol::set_members;
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

/// The room nearest to `room` that SGLang serves on data-parallel rank `rank` of `size`. SGLang serves a room on the rank
/// that is the remainder of the room's number, and refuses a request that names another rank.
///
/// ```
/// use router_protocol::disaggregation::room_on_rank;
/// assert_eq!(room_on_rank(1003, 1, 4), 1001);
/// assert_eq!(room_on_rank(i64::MAX as u64, 0, 2), i64::MAX as u64 - 1);
/// ```
pub const fn room_on_rank(room: u64, rank: u64, size: u64) -> u64 {
    if rank >= size {
        // There is no such rank; the engine refuses the request.
        return room;
    }
    let on = room - room % size + rank;
    if on > i64::MAX as u64 { on - size } else { on }
}
