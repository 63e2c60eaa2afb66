//! Connections that end: with the router, or because they are of no use.

use super::client::{Client, piece, request};
use super::frames::{
    Fate, GOAWAY, HEADERS, PREFACE, REFUSED_STREAM, RawConnection, frame, get, head, literals,
};
use crate::support::{Incoming, PATIENCE, options, router, until, worker, worker_behind};
use router_config::Options;
use std::sync::Arc;
use tokio::sync::Notify;

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// A worker that streams one event, and another one when it is notified.
async fn two_events(gate: &Arc<Notify>) -> std::net::SocketAddr {
    let gate = Arc::clone(gate);
    worker(move |mut incoming: Incoming| {
        let gate = Arc::clone(&gate);
        async move {
            incoming.send(format!("{STREAM}data: 1\n\n")).await;
            gate.notified().await;
            incoming.send("data: 2\n\n").await;
        }
    })
    .await
}

#[tokio::test]
async fn shutdown_lets_streams_end() {
    let gate = Arc::new(Notify::new());
    let router = router(options(&[two_events(&gate).await])).await;
    let (mut client, idle) = (Client::connect(&router).await, Client::connect(&router).await);
    let mut body = client.open(request("POST", "/generate"), r#"{"stream":true}"#).await.into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 1\n\n");
    let stopping = tokio::spawn(router.shutdown());
    // The connection without requests is told first.
    idle.ended().await.unwrap();
    gate.notify_one();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 2\n\n");
    assert!(piece(&mut body).await.is_none(), "the stream ends as it should");
    assert_eq!(stopping.await.unwrap(), 0);
    client.ended().await.unwrap();
}

#[tokio::test]
async fn streams_are_cut_at_the_end_of_the_grace_period() {
    let gate = Arc::new(Notify::new());
    let router = router(options(&[two_events(&gate).await])).await;
    let mut client = Client::connect(&router).await;
    let mut body = client.open(request("POST", "/generate"), r#"{"stream":true}"#).await.into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "data: 1\n\n");
    let cut = tokio::spawn(router.shutdown_unless(std::future::ready(())));
    let mut seen = String::new();
    while let Some(Ok(data)) = piece(&mut body).await {
        seen += &data;
    }
    assert!(seen.contains("router_stopped"), "{seen}");
    assert_eq!(tokio::time::timeout(PATIENCE, cut).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn useless_connections_are_closed() {
    let gate = Arc::new(Notify::new());
    let address = worker_behind(&gate, "{}").await;
    let router = router(Options { client_header_timeout_secs: 0.3, ..options(&[address]) }).await;
    for (name, bytes) in [
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface alone", PREFACE.to_vec()),
        (
            "half a head",
            [PREFACE, &frame(4, 0, 0, &[]), &frame(HEADERS, 0, 1, &literals(&head("GET", "/")))].concat(),
        ),
        ("an idle connection", [PREFACE, &frame(4, 0, 0, &[])].concat()),
    ] {
        let mut raw = RawConnection::silent(&router).await;
        raw.send(bytes).await;
        assert!(matches!(raw.fate(1).await, Fate::Closed), "{name}");
    }
    // A request that is served keeps its connection, however long it takes.
    let mut client = Client::connect(&router).await;
    let response = client.begin(request("POST", "/generate"), "{}").await;
    let mut other = RawConnection::connect(&router, &[]).await;
    let farewell = other.next_of(GOAWAY).await.expect("it is told first");
    assert_eq!(farewell.payload[4..8], [0; 4], "which is no error");
    other.ended().await;
    gate.notify_one();
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn streams_over_the_limit_are_refused() {
    let gate = Arc::new(Notify::new());
    let address = worker_behind(&gate, "{}").await;
    let router = router(Options { http2_max_concurrent_streams: 2, ..options(&[address]) }).await;
    let mut raw = RawConnection::connect(&router, &[]).await;
    for stream in [1, 3, 5] {
        raw.send(get(stream, "/file")).await;
    }
    assert_eq!(raw.fate(5).await, Fate::Reset(REFUSED_STREAM));
    until(|| router.in_flight() == 2).await;
    for _ in 0..2 {
        gate.notify_one();
        assert_eq!(raw.next_of(HEADERS).await.unwrap().payload.first(), Some(&0x88), "the status is 200");
    }
    raw.send(get(7, "/file")).await;
    gate.notify_one();
    assert_eq!(raw.fate(7).await, Fate::Status(200));
}
