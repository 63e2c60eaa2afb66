//! Requests that belong somewhere: by routing key, or because the client names the worker.

use crate::support::{RawClient, header, options, router, start, until, until_metric, worker};
use router_config::Options;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A worker that answers everything.
async fn obliging() -> SocketAddr {
    worker(|mut incoming| async move { incoming.send_json("{}").await }).await
}

async fn fleet(policy: &str, more: impl FnOnce(Options) -> Options) -> (RunningRouter, Vec<String>) {
    let workers = [obliging().await, obliging().await, obliging().await, obliging().await];
    let options = Options { policy: policy.to_owned(), ..options(&workers) };
    (router(more(options)).await, workers.iter().map(|w| format!("http://{w}")).collect())
}

/// Sends one request with these header lines; the whole answer.
async fn send(router: &RunningRouter, headers: &str, body: &str) -> String {
    let mut client = RawClient::connect(router).await;
    let length = body.len();
    let head = format!("POST /generate HTTP/1.1\r\nhost: router\r\nconnection: close\r\n{headers}");
    client.send(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
    client.rest().await
}

/// Who answers a request with these header lines.
async fn served(router: &RunningRouter, headers: &str, body: &str) -> String {
    let answer = send(router, headers, body).await;
    header(&answer, "x-sglang-worker").unwrap_or_else(|| panic!("nobody: {answer}")).to_owned()
}

#[tokio::test]
async fn routing_key_from_any_source_is_sticky() {
    for policy in ["consistent_hashing", "manual", "prefix_hash"] {
        let (router, workers) = fleet(policy, |options| options).await;
        let mut seen = std::collections::BTreeSet::new();
        for i in 0..24 {
            let first = served(&router, &format!("X-SMG-Routing-Key: k{i}\r\n"), "{}").await;
            for (headers, body) in [
                (format!("x-session-id: k{i}\r\n"), "{}".to_owned()),
                (format!("x-claude-code-session-id: k{i}\r\n"), r#"{"user":"other"}"#.to_owned()),
                (format!("session_id: k{i}\r\n"), "{}".to_owned()),
                (String::new(), format!(r#"{{"user":"k{i}"}}"#)),
                (String::new(), format!(r#"{{"metadata":{{"user_id":"k{i}"}},"prompt_cache_key":"other"}}"#)),
                (String::new(), format!(r#"{{"safety_identifier":"k{i}"}}"#)),
                (String::new(), format!(r#"{{"session_params":{{"session_id":"k{i}"}},"user":"other"}}"#)),
                (
                    format!("x-smg-routing-key: k{i}\r\nx-session-id: other\r\n"),
                    r#"{"user":"third"}"#.to_owned(),
                ),
            ] {
                assert_eq!(served(&router, &headers, &body).await, first, "{policy}: {headers}{body}");
            }
            seen.insert(first);
        }
        assert!(seen.len() > 2 && seen.iter().all(|w| workers.contains(w)), "{policy}: {seen:?}");
        until(|| router.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn the_headers_are_those_that_are_configured() {
    let keys = |options| Options { routing_key_headers: vec!["x-team".to_owned()], ..options };
    let (router, _) = fleet("manual", keys).await;
    let first = served(&router, "x-team: a\r\n", "{}").await;
    for i in 0..12 {
        let headers = format!("x-team: a\r\nx-smg-routing-key: {i}\r\n");
        assert_eq!(served(&router, &headers, "{}").await, first);
    }
}

#[tokio::test]
async fn named_worker_is_used_or_refused() {
    let (router, workers) = fleet("consistent_hashing", |options| options).await;
    for (i, worker) in workers.iter().enumerate() {
        let headers = format!("x-smg-target-worker: {i}\r\nx-smg-routing-key: same\r\n");
        assert_eq!(served(&router, &headers, "{}").await, *worker);
    }
    for unknown in ["4", "-1", "first"] {
        let answer = send(&router, &format!("x-smg-target-worker: {unknown}\r\n"), "{}").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{unknown}: {answer}");
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn broken_named_worker_is_not_replaced() {
    let broken = worker(|incoming| async move { drop(incoming) }).await;
    let options = Options { policy: "consistent_hashing".to_owned(), ..options(&[broken, obliging().await]) };
    let router = router(options).await;
    let answer = send(&router, "x-smg-target-worker: 0\r\n", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn named_worker_is_waited_for_unless_unknown() {
    let late = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let policy = "consistent_hashing".to_owned();
    let waiting = Options { policy, queue_when_unavailable: true, ..options(&[late, obliging().await]) };
    let router = start(waiting).await;
    until(|| router.healthy_workers() == 1).await;
    let unknown = send(&router, "x-smg-target-worker: 7\r\n", "{}").await;
    assert!(unknown.starts_with("HTTP/1.1 503 "), "{unknown}");
    let comes = async {
        until_metric(&router, "sgl_router_waiting_for_worker", 1.0).await;
        crate::support::serve_on(TcpListener::bind(late).await.unwrap(), |mut incoming| async move {
            incoming.send_json(r#"{"late":1}"#).await;
        });
    };
    let (answer, ()) = tokio::join!(send(&router, "x-smg-target-worker: 0\r\n", "{}"), comes);
    assert!(answer.ends_with(r#"{"late":1}"#), "{answer}");
}

#[tokio::test]
async fn only_some_policies_read_named_worker() {
    let (router, _) =
        fleet("round_robin", |o| Options { shadow_policies: vec!["consistent_hashing".to_owned()], ..o })
            .await;
    let first = served(&router, "x-smg-target-worker: 0\r\n", "{}").await;
    let second = served(&router, "x-smg-target-worker: 0\r\n", "{}").await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn large_bodies_are_read_as_small_ones() {
    let (router, _) = fleet("consistent_hashing", |options| options).await;
    let filler = "a".repeat(3 << 20);
    for i in 0..6 {
        let small = served(&router, "", &format!(r#"{{"user":"k{i}","text":"a"}}"#)).await;
        let large = served(&router, "", &format!(r#"{{"text":"{filler}","user":"k{i}"}}"#)).await;
        assert_eq!(large, small, "the key of a large body");
    }
    until(|| router.in_flight() == 0).await;
}
