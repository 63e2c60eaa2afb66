//! What HTTP/2 can say and HTTP/1.1 cannot, or says otherwise, is refused before a worker sees it.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Fate, HEADERS, PROTOCOL_ERROR, RawConnection, frame, get,
    head, literals,
};
use super::requests::observed;

/// The head of a request with these further headers.
fn with<V: AsRef<[u8]>>(more: &[(&str, V)]) -> Vec<u8> {
    [literals(&head("POST", "/generate")), literals(more)].concat()
}

/// The head of a request in which one pseudo-header has another value, or is absent.
fn replacing(name: &str, value: Option<&[u8]>) -> Vec<u8> {
    let mut block = Vec::new();
    for (own, usual) in head("POST", "/generate") {
        match value {
            _ if own != name => block.extend(literals(&[(own, usual)])),
            Some(value) => block.extend(literals(&[(own, value)])),
            None => {}
        }
    }
    block
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let (router, mut told) = observed(|options| options).await;
    for (name, block) in [
        ("a line end in a value", with(&[("x-a", b"1\r\nx-b: 2")])),
        ("a bare LF in a value", with(&[("x-a", b"1\nx-b: 2")])),
        ("a bare CR in a value", with(&[("x-a", b"1\r")])),
        ("a NUL in a value", with(&[("x-a", b"1\0")])),
        ("a line end in a name", with(&[("x-a: 1\r\nx-b", b"2")])),
        ("a colon in a name", with(&[("x-a:", b"2")])),
        ("a space in a name", with(&[("x a", b"2")])),
        ("an empty name", with(&[("", b"2")])),
        ("an upper-case name", with(&[("X-A", b"2")])),
        ("an upper-case length", with(&[("Content-Length", b"0")])),
        ("white space before a value", with(&[("x-a", b" 2")])),
        ("white space after a value", with(&[("x-a", b"2\t")])),
        ("chunks", with(&[("transfer-encoding", b"chunked")])),
        ("a connection header", with(&[("connection", b"content-length")])),
        ("an upgrade", with(&[("upgrade", b"websocket")])),
        ("keep-alive", with(&[("keep-alive", b"timeout=5")])),
        ("proxy-connection", with(&[("proxy-connection", b"close")])),
        ("te that is not trailers", with(&[("te", b"gzip")])),
        ("a signed length", with(&[("content-length", b"+2")])),
        ("a list of lengths", with(&[("content-length", b"0, 0")])),
        ("two lengths", with(&[("content-length", b"0"), ("content-length", b"2")])),
        ("one length twice", with(&[("content-length", b"0"), ("content-length", b"0")])),
        ("a length without a body", with(&[("content-length", b"2")])),
        ("another host", with(&[("host", b"evil.example")])),
        ("two hosts", with(&[("host", b"localhost"), ("host", b"localhost")])),
        ("a pseudo-header at the end", with(&[("x-a", "1"), (":path", "/other")])),
        ("a pseudo-header twice", with(&[(":path", b"/other")])),
        ("an unknown pseudo-header", with(&[(":smuggled", b"1")])),
        ("a status", with(&[(":status", b"200")])),
        ("a protocol", with(&[(":protocol", b"websocket")])),
        ("no method", replacing(":method", None)),
        ("no path", replacing(":path", None)),
        ("no scheme", replacing(":scheme", None)),
        ("no host", replacing(":authority", None)),
        ("an empty path", replacing(":path", Some(b""))),
        ("a path without a slash", replacing(":path", Some(b"generate"))),
        ("an absolute path", replacing(":path", Some(b"http://evil.example/"))),
        ("an asterisk", replacing(":path", Some(b"*"))),
        ("a second request line", replacing(":path", Some(b"/ HTTP/1.1\r\nhost: x\r\n\r\nGET /smuggled"))),
        ("a space in the path", replacing(":path", Some(b"/ HTTP/1.1"))),
        ("a NUL in the path", replacing(":path", Some(b"/\0"))),
        ("a space in the method", replacing(":method", Some(b"GET /smuggled HTTP/1.1\r\n"))),
        ("an empty method", replacing(":method", Some(b""))),
        ("a user in the host", replacing(":authority", Some(b"u@localhost"))),
        ("a line end in the host", replacing(":authority", Some(b"a\r\nx-b: 1"))),
        ("a path in the host", replacing(":authority", Some(b"a/b"))),
    ] {
        let mut raw = RawConnection::connect(&router, &[]).await;
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        let fate = raw.fate(1).await;
        let is_refused = matches!(fate, Fate::Status(400) | Fate::Reset(PROTOCOL_ERROR) | Fate::GoAway(_));
        assert!(is_refused, "{name}: {fate:?}");
        assert!(told.try_recv().is_err(), "{name}: the worker saw it");
        if !matches!(fate, Fate::GoAway(_)) {
            raw.send(get(3, "/fine")).await;
            assert_eq!(raw.fate(3).await, Fate::Status(200), "{name}: the connection lives on");
            assert!(told.recv().await.unwrap().0.starts_with("GET /fine HTTP/1.1\r\n"));
        }
    }
}

#[tokio::test]
async fn refused_head_is_explained() {
    let (router, _told) = observed(|options| options).await;
    let mut client = super::client::Client::connect(&router).await;
    let twice = super::client::request("POST", "/generate").header("host", "evil.example");
    let answer = client.send(twice, "").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("invalid_host") && answer.body.contains(":authority"), "{answer:?}");
    let padded = super::client::request("POST", "/generate").header("x-a", "1 ");
    let answer = client.send(padded, "").await;
    assert!(answer.body.contains("malformed_head") && answer.body.contains("white space"), "{answer:?}");
}

#[tokio::test]
async fn body_of_another_length_is_refused() {
    let (router, mut told) = observed(|options| options).await;
    for (name, length, bodies) in [
        ("too long", "2", &["{}GET /smuggled HTTP/1.1\r\nhost: r\r\n\r\n"][..]),
        ("too long in pieces", "2", &["{}", "more"]),
        ("too short", "20", &["{}"]),
        ("empty", "2", &[""]),
    ] {
        let mut raw = RawConnection::connect(&router, &[]).await;
        raw.send(frame(HEADERS, END_HEADERS, 1, &with(&[("content-length", length)]))).await;
        for (n, body) in bodies.iter().enumerate() {
            let end = if n + 1 == bodies.len() { END_STREAM } else { 0 };
            raw.send(frame(DATA, end, 1, body.as_bytes())).await;
        }
        assert_eq!(raw.fate(1).await, Fate::Reset(PROTOCOL_ERROR), "{name}");
        assert!(told.try_recv().is_err(), "{name}: the worker saw it");
    }
    crate::support::until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn frames_of_another_stream_cannot_interrupt_a_head() {
    let (router, mut told) = observed(|options| options).await;
    let block = literals(&head("GET", "/generate"));
    for (name, second) in [
        ("data", frame(DATA, END_STREAM, 1, b"{}")),
        ("another head", get(3, "/smuggled")),
        ("a continuation of another", frame(CONTINUATION, END_HEADERS, 3, &block[5..])),
    ] {
        let mut raw = RawConnection::connect(&router, &[]).await;
        raw.send([frame(HEADERS, END_STREAM, 1, &block[..5]), second].concat()).await;
        assert_eq!(raw.fate(1).await, Fate::GoAway(PROTOCOL_ERROR), "{name}");
        assert!(told.try_recv().is_err(), "{name}: the worker saw it");
    }
    // A head in parts is one head.
    let mut raw = RawConnection::connect(&router, &[]).await;
    raw.send(frame(HEADERS, END_STREAM, 1, &block[..5])).await;
    raw.send(frame(CONTINUATION, 0, 1, &block[5..9])).await;
    raw.send(frame(CONTINUATION, END_HEADERS, 1, &block[9..])).await;
    assert_eq!(raw.fate(1).await, Fate::Status(200));
    assert!(told.recv().await.unwrap().0.starts_with("GET /generate HTTP/1.1\r\n"));
}
