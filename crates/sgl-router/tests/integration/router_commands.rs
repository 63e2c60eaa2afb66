//! `sgl-router workers` and `sgl-router explain` with a running router.

use crate::support::{failure, fleet, output, run, text};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Sends a request with an id of its own.
fn generate(base: &str, id: &str) {
    let mut socket = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    let body = r#"{"text":"a","sampling_params":{"max_new_tokens":4}}"#;
    let head = format!(
        "host: localhost\r\nconnection: close\r\nx-request-id: {id}\r\ncontent-length: {}",
        body.len()
    );
    write!(socket, "POST /generate HTTP/1.1\r\n{head}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn workers_are_listed_added_and_removed() {
    let (_workers, _router, worker, base) = fleet(&[]);
    let table = output(&base, &["workers"]);
    assert!(
        table.starts_with("ID ") && table.contains(&worker) && table.contains("1 workers: 1 healthy"),
        "{table}"
    );
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let added =
        output(&base, &["workers", "add", "http://127.0.0.1:9", "--weight", "2", "--label", "rack=b"]);
    assert!(added.starts_with("worker 1.1 at http://127.0.0.1:9: "), "{added}");
    let json = output(&base, &["workers", "list", "--json"]);
    assert!(json.contains(r#""rack": "b""#) && json.contains(r#""weight": 2.0"#), "{json}");
    let again = failure(&base, &["workers", "add", "http://127.0.0.1:9"]);
    assert!(again.contains("(409)") && again.contains("in the fleet already"), "{again}");
    let gone = output(&base, &["workers", "drain", "http://127.0.0.1:9"]);
    assert!(gone.contains("it is gone, after "), "{gone}");
    let unknown = failure(&base, &["workers", "remove", "7.7"]);
    assert!(unknown.contains("'7.7'"), "{unknown}");
    assert!(output(&base, &["workers", "remove", "0.1"]).starts_with("worker 0.1 at "));
}

#[test]
fn decision_is_explained_in_words() {
    let (_workers, _router, worker, base) = fleet(&["--enable-tracking"]);
    generate(&base, "mine/1");
    let words = output(&base, &["explain", "mine/1"]);
    for part in
        ["Request mine/1: /generate", &worker, "only candidate", "success, status 200", "4 tokens generated"]
    {
        assert!(words.contains(part), "'{part}' is not in\n{words}");
    }
    assert!(words.lines().all(|line| line.chars().count() <= 80), "{words}");
    assert!(output(&base, &["explain", "mine/1", "--json"]).contains(r#""only_candidate""#));
    assert!(failure(&base, &["explain", "other"]).contains("no trace of request 'other'"));
}

#[test]
fn unusable_routers_are_named() {
    let (_workers, _router, _, base) = fleet(&[]);
    assert!(failure(&base, &["explain", "x"]).contains("--enable-tracking"));
    let wrong = failure(&base, &["workers", "--api-key", "wrong"]);
    assert!(wrong.contains("401") && wrong.contains("--api-key") && !wrong.contains("wrong"), "{wrong}");
    let nobody = failure("http://127.0.0.1:9", &["workers"]);
    assert!(nobody.contains("cannot reach the router at http://127.0.0.1:9"), "{nobody}");
    let invalid = run("ftp://x", &["workers"]);
    assert_eq!(invalid.status.code(), Some(2));
    assert!(text(&invalid.stderr).contains("--url: 'ftp://x'"), "{}", text(&invalid.stderr));
}
