//! A request that continues a stored response goes to the worker that keeps it.

use crate::support::{body, get, header, options, post, router, send, until, worker};
use router_config::Options;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const CAPTURED: &str =
    include_str!("../../../router-protocol/tests/data/sglang-0.5.23-metrics/v1_responses.response.body");

/// A worker that keeps responses: it answers as SGLang does, with an id of its own each time.
async fn keeper(number: u32) -> SocketAddr {
    let count = Arc::new(AtomicU32::new(0));
    worker(move |mut incoming| {
        let id = format!("resp_{number}x{}", count.fetch_add(1, Relaxed));
        async move {
            let captured = "resp_5e37b55e45384f3c9f071ac3632527a8";
            assert!(CAPTURED.contains(captured), "the capture has another id");
            let whole = CAPTURED.replace(captured, &id);
            if !String::from_utf8_lossy(&incoming.body).contains(r#""stream":true"#) {
                return incoming.send_json(&whole).await;
            }
            let events = format!(
                "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{{\"id\":\"{id}\"}}}}\n\n\
                 event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{whole}}}\n\n"
            );
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
            incoming.send(format!("{head}{events}")).await;
        }
    })
    .await
}

async fn fleet() -> RunningRouter {
    let workers = [keeper(0).await, keeper(1).await, keeper(2).await];
    router(Options { retry_budget: 10.0, ..options(&workers) }).await
}

fn served(answer: &str) -> String {
    header(answer, "x-sglang-worker").unwrap_or_else(|| panic!("nobody: {answer}")).to_owned()
}

#[tokio::test]
async fn follow_up_goes_to_its_holder() {
    let router = fleet().await;
    for stream in [false, true] {
        let first = post(&router, "/v1/responses", &format!(r#"{{"input":"a","stream":{stream}}}"#)).await;
        let id = first.split("\"id\":\"resp_").nth(1).unwrap().split('"').next().unwrap().to_owned();
        until(|| router.in_flight() == 0).await;
        for _ in 0..4 {
            let follow_up = format!(r#"{{"input":"b","previous_response_id":"resp_{id}"}}"#);
            assert_eq!(served(&post(&router, "/v1/responses", &follow_up).await), served(&first));
            for (method, path) in [("GET", ""), ("POST", "/cancel"), ("DELETE", "")] {
                let answer = send(&router, method, &format!("/v1/responses/resp_{id}{path}"), "").await;
                assert_eq!(served(&answer), served(&first), "{method} {path}");
            }
        }
    }
    let unknown = post(&router, "/v1/responses", r#"{"input":"b","previous_response_id":"resp_gone"}"#).await;
    assert!(unknown.starts_with("HTTP/1.1 200 "), "a worker says what it does not know: {unknown}");
}

#[tokio::test]
async fn conversation_stays_on_its_worker() {
    let router = fleet().await;
    for (n, form) in [(0, r#""conv_0""#), (1, r#"{"id":"conv_1"}"#)] {
        let request = format!(r#"{{"input":"a","conversation":{form}}}"#);
        let first = served(&post(&router, "/v1/responses", &request).await);
        for _ in 0..4 {
            assert_eq!(served(&post(&router, "/v1/responses", &request).await), first);
        }
        let items = get(&router, &format!("/v1/conversations/conv_{n}/items")).await;
        assert_eq!(served(&items), first);
    }
}

#[tokio::test]
async fn lost_holder_is_told_or_forgotten() {
    let router = fleet().await;
    let first = post(&router, "/v1/responses", r#"{"input":"a"}"#).await;
    let id = body(&first)["id"].as_str().unwrap().to_owned();
    let follow_up = format!(r#"{{"input":"b","previous_response_id":"{id}"}}"#);
    let removed = send(&router, "POST", &format!("/remove_worker?url={}", served(&first)), "").await;
    assert!(removed.starts_with("HTTP/1.1 200 "), "{removed}");
    until(|| router.healthy_workers() == 2).await;
    // While it drains it is no candidate; when it has left, another worker answers that it knows no such response.
    loop {
        let answer = post(&router, "/v1/responses", &follow_up).await;
        if answer.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    }
}
