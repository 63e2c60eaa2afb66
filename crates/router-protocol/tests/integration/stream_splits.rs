//! However a stream is cut into chunks, the facts are the same.

use bytes::Bytes;
use router_core::Route;
use router_protocol::{ResponseFacts, StreamObserver};

/// Bodies up to this long are cut at every byte.
const EVERY_BYTE: usize = 24 << 10;
/// Longer ones are cut at about this many places, and at every byte of their last 2 KiB.
const CUTS: usize = 600;

fn facts<'c>(route: Route, chunks: impl IntoIterator<Item = &'c Bytes>) -> ResponseFacts {
    let mut observer = StreamObserver::new(route);
    chunks.into_iter().for_each(|chunk| observer.push(chunk));
    observer.finish()
}

fn cuts(len: usize) -> Vec<usize> {
    if len <= EVERY_BYTE {
        return (0..=len).collect();
    }
    (0..len).step_by(len / CUTS).chain(len - 2048..=len).collect()
}

fn check(route: Route, body: &Bytes, name: &str) {
    let one = facts(route, [body]);
    for at in cuts(body.len()) {
        let two = facts(route, [&body.slice(..at), &body.slice(at..)]);
        assert_eq!(two, one, "{name} cut at {at}");
    }
    let bytes: Vec<Bytes> = (0..body.len()).map(|i| body.slice(i..=i)).collect();
    assert_eq!(facts(route, &bytes), one, "{name} byte by byte");
    let crlf = Bytes::from(String::from_utf8_lossy(body).replace("\n\n", "\r\n\r\n"));
    assert_eq!(facts(route, [&crlf]), one, "{name} with CRLF");
    for size in [7, 64, 1000] {
        let pieces: Vec<Bytes> = crlf.chunks(size).map(Bytes::copy_from_slice).collect();
        assert_eq!(facts(route, &pieces), one, "{name} with CRLF in pieces of {size}");
    }
}

#[test]
fn captured_streams() {
    let mut dirs = vec![crate::support::data()];
    match crate::support::shared() {
        Some(dir) => dirs.push(dir),
        None => println!("skipped the captures outside the repository: not there"),
    }
    let mut checked = std::collections::HashSet::new();
    for path in dirs.iter().flat_map(|dir| crate::support::files(dir, ".response.body")) {
        let body = Bytes::from(std::fs::read(&path).unwrap());
        if body.starts_with(b"data:") && checked.insert(body.clone()) {
            check(crate::support::route(&path), &body, &path.display().to_string());
        }
    }
    assert!(checked.len() > 40, "only {} streams", checked.len());
}

/// Shapes no capture has: comments, names, several data lines, blank lines, both line ends, events without data.
#[test]
fn synthetic_streams() {
    let odd = concat!(
        ": hello\n\n",
        "\n\n",
        "event: message\ndata: {\"choices\":[{\"delta\":\n",
        "data: {\"content\":\"a\"}}]}\n\n",
        "retry: 10\r\n\r\n",
        "id: 7\ndata:{\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\r\n\r\n",
        ": ping\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n",
        "data: [DONE]\n\n"
    );
    let body = Bytes::from_static(odd.as_bytes());
    check(Route::ChatCompletions, &body, "odd");
    let all = facts(Route::ChatCompletions, [&body]);
    assert_eq!((all.events, all.complete), (3, true));
    assert_eq!(
        (all.usage.prompt_tokens, all.usage.output_tokens, all.usage.estimated),
        (Some(3), Some(2), false)
    );

    let named = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"error\":null,",
        "\"usage\":{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":6},\"output_tokens\":2}}}\n\n",
    );
    let body = Bytes::from_static(named.as_bytes());
    check(Route::Responses, &body, "responses");
    let all = facts(Route::Responses, [&body]);
    assert_eq!((all.events, all.complete, all.error), (3, true, None));
    assert_eq!(all.usage.prompt_tokens, Some(10));
    assert_eq!((all.usage.output_tokens, all.usage.cached_tokens), (Some(2), Some(6)));
}
