//! Each fault as its client sees it.

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use router_emulator::{Fault, FaultKind, RunningEmulator, SglangVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{ask, get, open, post, server, until};

const STREAM: &str =
    r#"{"text": "a", "sampling_params": {"max_new_tokens": 64, "ignore_eos": true}, "stream": true}"#;
const WHOLE: &str = r#"{"text": "a", "sampling_params": {"max_new_tokens": 8}}"#;

async fn broken(kind: FaultKind) -> RunningEmulator {
    let s = server(SglangVersion::Stock, 1.0).await;
    s.set_fault(Fault::new(kind));
    s
}

/// Everything a raw client reads, and the error that ended the connection.
async fn raw(s: &RunningEmulator, body: &str) -> (Vec<u8>, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(s.addr()).await.unwrap();
    let head = format!("POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return (bytes, None),
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            Err(e) => return (bytes, Some(e.kind())),
        }
    }
}

fn count(bytes: &[u8], what: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(what).count()
}

#[tokio::test]
async fn status_fault_counts_and_spares_health() {
    let s = server(SglangVersion::Stock, 20.0).await;
    let set = r#"{"kind": "status", "status": 503, "count": 2}"#;
    assert_eq!(post(&s, "/_fault", set).await.status, StatusCode::OK);
    assert_eq!(get(&s, "/health").await.status, StatusCode::OK);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(post(&s, "/generate", WHOLE).await.status.as_u16());
    }
    assert_eq!(seen, [503, 503, 200]);
    s.set_fault(Fault { health: true, ..Fault::new(FaultKind::Status) });
    assert_eq!(get(&s, "/health").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(&s, "/_fault").await.json()["fault"]["kind"], "status");
    ask(&s, Method::DELETE, "/_fault", "").await.unwrap();
    assert_eq!(get(&s, "/health").await.status, StatusCode::OK);
    assert_eq!(post(&s, "/_fault", r#"{"kind": "flood"}"#).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(post(&s, "/_fault", r#"{"kind": "crash"}"#).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn hang_never_responds() {
    let s = broken(FaultKind::Hang).await;
    tokio::select! {
        _ = open(&s, Method::POST, "/generate", WHOLE) => panic!("it answered"),
        health = get(&s, "/health") => assert_eq!(health.status, StatusCode::OK),
    }
    assert_eq!(s.stats().received, 0);
}

#[tokio::test]
async fn resets_and_closes_are_distinct() {
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    let s = broken(FaultKind::ResetBeforeFirstByte).await;
    assert_eq!(raw(&s, STREAM).await, (vec![], reset));

    let s = broken(FaultKind::ResetMidStream).await;
    let mut response = open(&s, Method::POST, "/generate", STREAM).await.unwrap();
    for _ in 0..3 {
        response.frame().await.unwrap().unwrap();
    }
    assert!(response.frame().await.unwrap().is_err());
    let (bytes, end) = raw(&s, WHOLE).await;
    assert!(end == reset && count(&bytes, "\"text\"") <= 1, "an answer that is not streamed breaks too");

    let s = broken(FaultKind::CloseEarly).await;
    let (bytes, end) = raw(&s, STREAM).await;
    assert_eq!((count(&bytes, "data: "), end), (3, None));
    assert_eq!(count(&bytes, "\r\n0\r\n\r\n"), 0, "the body must not end in an orderly way");
    until(&s, |stats| stats.in_flight() == 0).await;
}

#[tokio::test]
async fn half_event_stops_within_event() {
    let s = broken(FaultKind::HalfEvent).await;
    let (bytes, end) = raw(&s, STREAM).await;
    assert_eq!((count(&bytes, "data: "), count(&bytes, "}\n\n"), end), (4, 3, None));
}

#[tokio::test]
async fn no_done_ends_body_without_done() {
    let s = broken(FaultKind::NoDone).await;
    let response = post(&s, "/generate", STREAM).await;
    assert!(!response.broken);
    assert_eq!(response.events().len(), 3);
    assert!(!response.text.contains("[DONE]"));
}

#[tokio::test]
async fn stall_keeps_connection_open() {
    let s = broken(FaultKind::Stall).await;
    let mut response = open(&s, Method::POST, "/generate", STREAM).await.unwrap();
    for _ in 0..3 {
        response.frame().await.unwrap().unwrap();
    }
    until(&s, |stats| stats.in_flight() == 0).await;
    tokio::select! {
        biased;
        _ = response.frame() => panic!("it spoke"),
        health = get(&s, "/health") => assert_eq!(health.status, StatusCode::OK),
    }
}

#[tokio::test]
async fn garbage_is_not_http() {
    let s = broken(FaultKind::Garbage).await;
    let (bytes, _) = raw(&s, WHOLE).await;
    assert!(bytes.starts_with(b"\x16\x03\x01"));
    assert!(open(&s, Method::POST, "/generate", WHOLE).await.is_err());
}

#[tokio::test]
async fn trailers_follow_complete_stream() {
    let s = broken(FaultKind::ChunkedTrailers).await;
    let response = post(&s, "/generate", STREAM).await;
    assert!(response.text.ends_with("data: [DONE]\n\n") && !response.broken);
    assert_eq!(response.trailers.unwrap()["x-emulator-trailer"], "end");
}

#[tokio::test]
async fn slow_multiplies_engine_times() {
    let s = server(SglangVersion::Stock, 5.0).await;
    let latency =
        async || post(&s, "/generate", WHOLE).await.json()["meta_info"]["e2e_latency"].as_f64().unwrap();
    let normal = latency().await;
    s.set_fault(Fault { factor: 3.0, ..Fault::new(FaultKind::Slow) });
    let slow = latency().await;
    // Engine times are exact; only the cached prompt's few tokens differ.
    assert!((slow / normal - 3.0).abs() < 0.01, "{normal} {slow}");
    s.clear_fault();
    assert!((latency().await / normal - 1.0).abs() < 0.01);
}

#[tokio::test]
async fn refuse_keeps_and_crash_resets_connections() {
    let s = server(SglangVersion::Stock, 0.05).await;
    let mut kept = open(&s, Method::POST, "/generate", STREAM).await.unwrap();
    kept.frame().await.unwrap().unwrap();
    s.set_fault(Fault::new(FaultKind::Refuse));
    while TcpStream::connect(s.addr()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    kept.frame().await.unwrap().unwrap();
    s.set_fault(Fault::new(FaultKind::Crash));
    while kept.frame().await.unwrap().is_ok() {}
    until(&s, |stats| stats.in_flight() == 0).await;
    s.clear_fault();
    while TcpStream::connect(s.addr()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&s, "/health").await.status, StatusCode::OK, "it is back on the same port");
}
