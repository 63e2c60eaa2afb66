//! `/v1/live`: what those see who watch the router.

use crate::support::{PATIENCE, RawClient, body, get, header, options, post, router, send, until, worker};
use router_config::{Options, Secret};
use router_live::{Delta, ProblemCode, Snapshot};
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt as _;

/// A worker that streams two tokens.
async fn streaming_worker() -> SocketAddr {
    worker(|mut incoming| async move {
        let events = "data: {\"text\":\"a\",\"meta_info\":{\"completion_tokens\":1,\"prompt_tokens\":8,\"cached_tokens\":2}}\n\n\
            data: {\"text\":\"ab\",\"meta_info\":{\"completion_tokens\":2,\"prompt_tokens\":8,\"cached_tokens\":2}}\n\ndata: [DONE]\n\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        incoming.send(format!("{head}{events}")).await;
    })
    .await
}

/// One who watches a router, as a program of somebody else's would.
struct Watcher {
    client: RawClient,
    /// Bytes of the body that are no whole event yet.
    text: String,
    snapshot: Snapshot,
}

impl Watcher {
    async fn begin(router: &RunningRouter) -> Self {
        let mut client = RawClient::connect(router).await;
        client.send("GET /v1/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let head = client.see("\r\n\r\n").await;
        let (head, rest) = head.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(header(head, name), Some(value));
        }
        let text = rest.to_owned();
        let mut watcher = Self { client, text, snapshot: Snapshot::default() };
        assert_eq!(watcher.next().await, "snapshot");
        watcher
    }

    /// Reads the next event into the snapshot; its name.
    async fn next(&mut self) -> String {
        let mut chunk = vec![0; 1 << 16];
        loop {
            // Chunks of the transfer begin with their size on a line of its own, and an event is one chunk.
            if let Some((event, rest)) = self.text.split_once("\n\n\r\n") {
                let (_, event) = event.split_once("event: ").unwrap();
                let (name, data) = event.split_once("\ndata: ").unwrap();
                match name {
                    "snapshot" => self.snapshot = serde_json::from_str(data).unwrap(),
                    _ => {
                        let delta: Delta = serde_json::from_str(data).unwrap();
                        assert_eq!(delta.seq, self.snapshot.seq + 1, "no delta is missing");
                        self.snapshot.apply(delta);
                    }
                }
                let name = name.to_owned();
                self.text = rest.to_owned();
                return name;
            }
            let read = tokio::time::timeout(PATIENCE, self.client.socket.read(&mut chunk)).await;
            let n = read.expect("no event came").unwrap();
            assert!(n > 0, "the stream ended");
            self.text.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
        }
    }

    /// Reads on until the snapshot is as it must become.
    async fn until(&mut self, condition: impl Fn(&Snapshot) -> bool) -> &Snapshot {
        let wait = async {
            while !condition(&self.snapshot) {
                self.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it never became so");
        &self.snapshot
    }
}

#[tokio::test]
async fn requests_show_in_the_snapshot_that_deltas_bring_up_to_date() {
    let workers = [streaming_worker().await, streaming_worker().await];
    let shadows = vec!["least_request".to_owned()];
    let router =
        router(Options { policy: "marginal_cost".to_owned(), shadow_policies: shadows, ..options(&workers) })
            .await;
    post(&router, "/generate", r#"{"text":"before","stream":true}"#).await;
    let mut watcher = Watcher::begin(&router).await;
    let first = watcher.snapshot.clone();
    assert_eq!((first.workers.len(), first.totals.healthy), (2, 2));
    assert_eq!(first.router.policy, "marginal_cost");
    assert!(
        first.decisions.is_empty() && first.workers[0].ttft_p50.is_none(),
        "nothing is known of the time before"
    );
    assert_eq!(first.problems, []);
    for _ in 0..3 {
        post(&router, "/generate", r#"{"text":"a","stream":true}"#).await;
    }
    let seen = watcher
        .until(|now| now.decisions.len() == 3 && now.totals.requests_per_sec.is_some_and(|r| r > 0.0))
        .await;
    let decision = &seen.decisions[0];
    assert_eq!((decision.costs.len(), decision.candidates, decision.route.as_str()), (2, 2, "/generate"));
    assert!(decision.costs.iter().any(|cost| cost.worker == decision.worker));
    assert!(decision.costs[0].terms.iter().any(|term| term.name == "own_latency"), "{decision:?}");
    assert_eq!(decision.shadows[0].policy, "least_request");
    let seen = watcher.until(|now| now.totals.cached_share.is_some() && !now.shadows.is_empty()).await;
    assert_eq!(seen.totals.cached_share, Some(0.25));
    let shares: f64 = seen.workers.iter().filter_map(|row| row.share).sum();
    assert!((shares - 1.0).abs() < 0.01, "{seen:?}");
    assert!(
        seen.workers.iter().any(|row| row.ttft_p50.is_some() && row.forecast_error.is_some()),
        "{seen:?}"
    );
    assert_eq!(
        seen.scale,
        vec![serde_json::from_value(body(&get(&router, "/v1/scale").await)["pools"][0].clone()).unwrap()]
    );
}

#[tokio::test]
async fn what_is_wrong_is_said_in_words() {
    let stays = streaming_worker().await;
    let router = router(options(&[stays])).await;
    let mut watcher = Watcher::begin(&router).await;
    let dead = "127.0.0.1:1";
    let added =
        post(&router, "/workers", &format!(r#"{{"url":"http://{dead}","labels":{{"zone":"b"}}}}"#)).await;
    assert!(added.starts_with("HTTP/1.1 202 "), "{added}");
    let row = watcher.until(|now| now.workers.iter().any(|row| row.cause.is_some())).await.workers[1].clone();
    assert_eq!((row.zone.as_deref(), row.cause.unwrap().reason.as_str()), (Some("b"), "connection_refused"));
    assert_eq!(row.ttft_p50, None);
    let url = format!("/workers/{}", body(&added)["worker_id"].as_str().unwrap());
    send(&router, "DELETE", &url, "").await;
    watcher.until(|now| now.workers.len() == 1).await;
    let last = format!("/workers/{}", watcher.snapshot.workers[0].id);
    send(&router, "DELETE", &last, "").await;
    let seen = watcher.until(|now| now.workers.is_empty()).await;
    let problem = &seen.problems[0];
    assert_eq!(
        (problem.code, problem.en.as_str()),
        (ProblemCode::NoWorker, "There is no worker: every request is refused.")
    );
    let refused = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let seen = watcher.until(|now| !now.queue.refusals.is_empty()).await;
    assert_eq!(
        (seen.queue.refusals[0].reason.as_str(), seen.queue.refusals[0].count),
        ("no_healthy_worker", 1)
    );
}

#[tokio::test]
async fn requests_that_wait_show_with_their_age() {
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let busy = crate::support::worker_behind(&gate, r#"{"text":"a"}"#).await;
    let router = router(Options { worker_max_in_flight: Some(1), ..options(&[busy]) }).await;
    let mut watcher = Watcher::begin(&router).await;
    let (mut first, mut second) = (RawClient::connect(&router).await, RawClient::connect(&router).await);
    first.post("/generate", r#"{"text":"a"}"#).await;
    until(|| router.in_flight() == 1).await;
    second.post("/generate", r#"{"text":"b"}"#).await;
    let seen =
        watcher.until(|now| now.problems.iter().any(|problem| problem.code == ProblemCode::Waiting)).await;
    assert_eq!((seen.workers[0].in_flight, seen.workers[0].cap), (1, Some(1)));
    assert_eq!(
        (seen.queue.waiting[0].class.as_str(), seen.queue.waiting[0].requests),
        ("worker_capacity", 1)
    );
    assert!(seen.queue.oldest_since.is_some_and(|since| since <= seen.at - 1.0));
    gate.notify_one();
    first.see("\"a\"").await;
    gate.notify_one();
    second.see("\"a\"").await;
    let seen = watcher.until(|now| now.queue.waiting.is_empty()).await;
    assert_eq!(seen.queue.oldest_since, None);
}

#[tokio::test]
async fn viewers_are_limited_and_one_that_leaves_makes_room() {
    let router = router(options(&[streaming_worker().await])).await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        watchers.push(Watcher::begin(&router).await);
    }
    watchers[0].until(|now| now.router.viewers == 16).await;
    let refused = get(&router, "/v1/live").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert_eq!(body(&refused)["error"]["code"], "too_many_viewers");
    watchers.truncate(1);
    watchers[0].until(|now| now.router.viewers == 1).await;
    Watcher::begin(&router).await;
}

#[tokio::test]
async fn stream_ends_when_the_router_stops() {
    let router = router(options(&[streaming_worker().await])).await;
    let mut watcher = Watcher::begin(&router).await;
    let (cut, ()) = tokio::join!(router.shutdown(), async {
        let rest = watcher.client.rest().await;
        assert!(rest.ends_with("0\r\n\r\n"), "the stream ends as a whole response: {rest}");
    });
    assert_eq!(cut, 0, "it holds up nothing");
}

#[tokio::test]
async fn only_admins_watch() {
    let key = Some(Secret::from("secret".to_owned()));
    let router = router(Options { admin_api_key: key, ..options(&[streaming_worker().await]) }).await;
    let refused = get(&router, "/v1/live").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let mut client = RawClient::connect(&router).await;
    client.send("GET /v1/live HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\n\r\n").await;
    client.see("event: snapshot").await;
}
