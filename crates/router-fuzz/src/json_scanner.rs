//! Target `json_scanner`: every reader of `router-protocol`. None may panic, and results that must agree do.

use bytes::Bytes;
use router_core::{Rng, Route};
use router_protocol::{
    LoadEndpoint, OwnedFacts, StreamObserver, error_body, parse_load, parse_orca, parse_server_info,
    prefix_hashes, read_response, scan, set_members,
};

/// Inputs from this length on are not parsed a second time.
pub const LONG: usize = 1 << 20;

/// One reader: it gets a number to choose a variant by (a route, the size of chunks), and the bytes to read.
pub type Reader = fn(u8, &[u8]);

/// Puts one input through every reader. Its first byte is the number that they choose by, the rest is what they read.
///
/// # Panics
/// When a reader panics or breaks a promise.
pub fn run(input: &[u8]) {
    const READERS: [Reader; 6] =
        [read_request, read_whole_response, read_stream, read_load, read_server_info, read_headers];
    let Some((&choice, bytes)) = input.split_first() else { return };
    READERS.iter().for_each(|read| read(choice, bytes));
}

/// Request bodies: a body that is well formed stays so when a member is set.
pub fn read_request(choice: u8, bytes: &[u8]) {
    let facts = scan(route(choice), bytes);
    let body = Bytes::copy_from_slice(bytes);
    assert_eq!(OwnedFacts::scan(route(choice), &body).facts(), facts, "owned facts are the same");
    assert!(facts.batch >= 1 && facts.choices >= 1, "a request has at least one prompt and one choice");
    assert!(
        facts.prompt.is_none_or(|prompt| prompt.len() <= bytes.len()),
        "the prompt is a part of the body"
    );
    if let Some(prompt) = facts.prompt {
        prefix_hashes(prompt, &mut Vec::new());
        facts.text();
        facts.script();
    }
    if facts.well_formed && bytes.len() < LONG {
        let changed = set_members(bytes, &[("bootstrap_room", "1")]);
        assert!(
            changed.is_some_and(|body| scan(Route::Generate, &body).well_formed),
            "a member can be set in a body that is well formed"
        );
    }
}

/// Bodies of responses that were not streamed.
pub fn read_whole_response(_: u8, bytes: &[u8]) {
    read_response(bytes);
}

/// Event streams: the facts are the same however the stream is cut into chunks.
pub fn read_stream(choice: u8, bytes: &[u8]) {
    let route = route(choice);
    let mut rng = Rng::seeded(u64::from(choice));
    let body = Bytes::copy_from_slice(bytes);
    let mut at_once = StreamObserver::new(route);
    at_once.push(&body);
    let mut in_chunks = StreamObserver::new(route);
    let mut rest = body;
    while !rest.is_empty() {
        // Long streams come in tiny chunks: what is held of an event must not be read again with each of them.
        let most = if bytes.len() >= LONG { 4 } else { 100 };
        in_chunks.push(&rest.split_to((1 + rng.below(most)).min(rest.len())));
    }
    assert_eq!(at_once.finish(), in_chunks.finish(), "chunks do not matter");
}

/// Bodies of the load endpoints.
pub fn read_load(_: u8, bytes: &[u8]) {
    for endpoint in LoadEndpoint::ALL {
        let _ = parse_load(endpoint, bytes);
    }
}

/// Bodies of the endpoints that describe a server.
pub fn read_server_info(_: u8, bytes: &[u8]) {
    let _ = parse_server_info(bytes);
}

/// Texts: the load header of a response, and error bodies, which are JSON whatever they quote.
pub fn read_headers(_: u8, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_orca(&text);
    if bytes.len() >= LONG {
        error_body(&text, "type", "code");
        return;
    }
    let body = error_body(&text, &text, &text);
    let parsed = serde_json::from_slice::<serde_json::Value>(&body);
    assert!(parsed.is_ok(), "an error body is JSON");
}

fn route(choice: u8) -> Route {
    Route::ALL[usize::from(choice) % Route::ALL.len()]
}
