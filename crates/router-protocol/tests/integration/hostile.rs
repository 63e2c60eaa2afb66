//! No bytes make a reader panic, and none of them cost more than linear time.

use bytes::Bytes;
use proptest::prelude::*;
use router_core::Route;
use router_protocol::{
    LoadEndpoint, OwnedFacts, StreamObserver, error_body, parse_load, parse_orca, parse_server_info,
    parse_server_metrics, prefix_hashes, read_response, scan, set_members,
};

/// Calls every reader once. What a full parser accepts, the scan must call well formed.
fn read_all(bytes: &[u8]) {
    for route in Route::ALL {
        let facts = scan(route, bytes);
        let body = Bytes::copy_from_slice(bytes);
        assert_eq!(OwnedFacts::scan(route, &body).facts(), facts);
        assert!(facts.batch >= 1 && facts.choices >= 1);
        assert!(facts.prompt.is_none_or(|p| p.len() <= bytes.len()));
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes).is_ok() {
            assert!(facts.well_formed, "{}", String::from_utf8_lossy(bytes));
            assert!(set_members(bytes, &[("x", "1")]).is_some());
        }
        read_response(bytes);
        let body = Bytes::copy_from_slice(bytes);
        let mut one = StreamObserver::new(route);
        one.push(&body);
        let mut two = StreamObserver::new(route);
        let at = bytes.len() / 2;
        two.push(&body.slice(..at));
        two.push(&body.slice(at..));
        assert_eq!(one.finish(), two.finish());
    }
    for endpoint in LoadEndpoint::ALL {
        let _ = parse_load(endpoint, bytes);
    }
    let _ = parse_server_info(bytes);
    let _ = parse_server_metrics(bytes);
    prefix_hashes(bytes, &mut Vec::new());
    let text = String::from_utf8_lossy(bytes);
    let _ = parse_orca(&text);
    error_body(&text, &text, &text);
}

fn corpus() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = crate::support::files(&crate::support::data(), ".body")
        .iter()
        .map(|p| std::fs::read(p).unwrap())
        .collect();
    let requests = crate::support::files(&crate::support::data(), ".request");
    bodies.extend(requests.iter().map(|p| {
        let name = p.strip_prefix(crate::support::data()).unwrap().to_string_lossy().replace(".request", "");
        crate::support::request(&name).1.to_vec()
    }));
    bodies.retain(|b| b.len() < 20_000);
    bodies
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(&bytes);
    }

    #[test]
    fn bytes_that_look_like_json(text in r#"(data: )?[{}\[\]",:0-9a-e\\ \n]{0,80}(\n\n)?"#) {
        read_all(text.as_bytes());
    }

    #[test]
    fn mutated_bodies(pick in any::<prop::sample::Index>(), edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6)) {
        let corpus = CORPUS.with(Clone::clone);
        let mut body = corpus[pick.index(corpus.len())].clone();
        for (at, byte, kind) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, b"{}[]\",:\\\n\r0"[usize::from(byte) % 11]),
                2 => { body.remove(at); }
                _ => body.truncate(at),
            }
        }
        read_all(&body);
    }
}

thread_local! {
    static CORPUS: std::rc::Rc<Vec<Vec<u8>>> = std::rc::Rc::new(corpus());
}

#[test]
fn bombs() {
    let deep = |open: &str, n: usize| open.repeat(n).into_bytes();
    let mut bodies = vec![
        deep("[", 1 << 20),
        deep("{\"a\":", 1 << 18),
        deep("{\"messages\":[", 1 << 17),
        deep("[1,", 1 << 19),
        deep("\"\\", 1 << 19),
        deep("data: {\"error\"\n", 1 << 16),
        deep("\n", 1 << 20),
        deep("data:\n", 1 << 17),
    ];
    bodies.push([&b"{\"text\":"[..], &deep("[", 1 << 20)].concat());
    bodies.push([&b"{\"input_ids\":["[..], &deep("[1,2,", 1 << 18)].concat());
    for body in &bodies {
        for route in [Route::Generate, Route::ChatCompletions] {
            assert!(!scan(route, body).well_formed);
            assert!(!read_response(body).complete);
            let mut observer = StreamObserver::new(route);
            observer.push(&Bytes::copy_from_slice(body));
            observer.finish();
        }
        let _ = parse_load(LoadEndpoint::V1Loads, body);
    }
}
