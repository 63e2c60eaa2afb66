//! What clients of streams are sent while a worker is silent.

use crate::support::{Incoming, RawClient, metric, options, router, until, without_chunks, worker};
use router_config::Options;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Notify;

/// A stream that stands between two events for good. Its keep-alives tell the time to a test.
struct Ticks(RawClient);

impl Ticks {
    async fn start(router: &RunningRouter) -> Self {
        let mut client = RawClient::connect(router).await;
        client.post("/generate", r#"{"stream":true}"#).await;
        client.see("data: tick\n\n").await;
        Self(client)
    }

    /// Waits for several intervals.
    async fn pass(&mut self) {
        for _ in 0..4 {
            self.0.see(": ping\n\n").await;
            self.0.seen.clear();
        }
    }
}

async fn tick_for_ever(mut incoming: Incoming) {
    incoming.send(format!("{HEAD}\r\ndata: tick\n\n")).await;
    incoming.closed().await;
}

/// A worker that sends `first` at once, and each piece of the `rest` when it is notified. On `/generate` it ticks.
async fn gated(first: String, rest: &'static [&'static str]) -> (SocketAddr, Arc<Notify>) {
    let next = Arc::new(Notify::new());
    let go = Arc::clone(&next);
    let address = worker(move |mut incoming| {
        let (go, first) = (Arc::clone(&go), first.clone());
        async move {
            if incoming.path() == "/generate" {
                return tick_for_ever(incoming).await;
            }
            incoming.send(first).await;
            for piece in rest {
                go.notified().await;
                incoming.send(piece).await;
            }
        }
    })
    .await;
    (address, next)
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n";

#[tokio::test]
async fn silent_streams_are_kept_alive() {
    // The second half of this event comes late: nothing may stand in between.
    let (address, next) = gated(format!("{HEAD}\r\ndata: {{\"a\":"), &["1}\n\n", "data: [DONE]\n\n"]).await;
    let router = router(Options { sse_keep_alive_secs: 0.02, ..options(&[address]) }).await;
    let mut ticks = Ticks::start(&router).await;
    for (path, ping) in [
        ("/v1/chat/completions", ": ping\n\n"),
        ("/v1/messages", "event: ping\ndata: {\"type\": \"ping\"}\n\n"),
    ] {
        let mut client = RawClient::connect(&router).await;
        client.post(path, r#"{"stream":true}"#).await;
        client.see("data: {\"a\":").await;
        ticks.pass().await;
        next.notify_one();
        client.see(&format!("{ping}\r\n")).await;
        next.notify_one();
        let response = client.see("\r\n0\r\n\r\n").await;
        let body = without_chunks(&response);
        assert!(body.starts_with("data: {\"a\":1}\n\n"), "{body}");
        let rest = body.replace(ping, "");
        assert_eq!(rest, "data: {\"a\":1}\n\ndata: [DONE]\n\n", "{body}");
        assert!(body.len() > rest.len());
    }
    drop(ticks);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn encoded_streams_pass_unmodified() {
    let (address, next) = gated(format!("{HEAD}content-encoding: gzip\r\n\r\nab\n\n"), &["cd"]).await;
    let router = router(Options { sse_keep_alive_secs: 0.01, ..options(&[address]) }).await;
    let mut ticks = Ticks::start(&router).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/v1/chat/completions", r#"{"stream":true}"#).await;
    client.see("ab\n\n").await;
    ticks.pass().await;
    next.notify_one();
    assert_eq!(without_chunks(&client.see("\r\n0\r\n\r\n").await), "ab\n\ncd");
}

#[tokio::test]
async fn long_prompts_are_kept_alive() {
    let (address, next) = gated(format!("{HEAD}\r\n"), &["data: {\"a\":1}\n\ndata: [DONE]\n\n"]).await;
    let router = router(Options { sse_keep_alive_secs: 0.02, ..options(&[address]) }).await;
    for (path, ping) in [
        ("/v1/chat/completions", ": ping\n\n"),
        ("/v1/messages", "event: ping\ndata: {\"type\": \"ping\"}\n\n"),
    ] {
        let mut client = RawClient::connect(&router).await;
        client.post(path, r#"{"stream":true}"#).await;
        let begun = client.see(&format!("{ping}\r\n")).await;
        assert!(begun.starts_with("HTTP/1.1 200 ") && !begun.contains("data: {\"a\""), "{begun}");
        next.notify_one();
        let body = without_chunks(&client.see("\r\n0\r\n\r\n").await);
        assert_eq!(body.replace(ping, ""), "data: {\"a\":1}\n\ndata: [DONE]\n\n", "{body}");
    }
    until(|| router.in_flight() == 0).await;
    let outcomes = metric(&router, "sgl_router_worker_outcomes_total").await;
    let good = outcomes.iter().filter(|(labels, _)| labels.contains("success")).map(|(_, n)| n).sum::<f64>();
    assert_eq!(good, 2.0, "{outcomes:?}");
}
