//! What the router refuses or reports itself: limits, a fleet without workers, workers that break the protocol.

use crate::support::{RawClient, get, options, post, router, start, until, worker};
use router_config::Options;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

fn code(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: '{answer}'")).1;
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
    let error = &json["error"];
    assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()) && error["type"].is_string(), "{json}");
    error["code"].as_str().unwrap().to_owned()
}

/// A port without a listener.
async fn dead() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn oversized_body_is_refused() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(Options { max_payload_size: 1000, ..options(&[address]) }).await;
    let announced = post(&router, "/generate", &"x".repeat(1001)).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    assert_eq!(code(&announced), "payload_too_large");
    let mut client = RawClient::connect(&router).await;
    client.send("POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..3 {
        client.send(format!("190\r\n{}\r\n", "x".repeat(400))).await;
    }
    assert!(client.see("\r\n\r\n{").await.starts_with("HTTP/1.1 413 "));
    // An answer must survive what the client still sends after it.
    let large = post(&router, "/generate", &"x".repeat(10 << 20)).await;
    assert_eq!(code(&large), "payload_too_large");
    assert!(post(&router, "/generate", &"x".repeat(1000)).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn unhealthy_fleet_gives_503_and_recovers() {
    let address = dead().await;
    let router = start(options(&[address])).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(code(&answer), "no_healthy_worker");
    assert!(answer.contains("(0 of 1 workers healthy)") && answer.contains("retry-after: 1\r\n"), "{answer}");
    for readiness in ["/readiness", "/readyz"] {
        let answer = get(&router, readiness).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(r#""total_workers":1"#), "{answer}");
    }
    let health = get(&router, "/health").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "a liveness probe must not restart the router: {health}");
    assert!(
        health.contains(r#""healthy_workers":0"#) && health.contains(r#""status":"not ready""#),
        "{health}"
    );
    assert!(get(&router, "/liveness").await.starts_with("HTTP/1.1 200 "));
    assert!(get(&router, "/v1/models").await.starts_with("HTTP/1.1 503 "));
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                while crate::support::read_message(&mut socket).await.is_some() {
                    use tokio::io::AsyncWriteExt as _;
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
                }
            });
        }
    });
    until(|| router.healthy_workers() == 1).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    assert!(get(&router, "/readiness").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stopping_router_serves_on_for_the_delay() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    // Longer than the test, which ends it.
    let router = router(Options { shutdown_delay_secs: 3600.0, ..options(&[address]) }).await;
    let at = router.address();
    let ask = |line: &'static str| async move {
        let mut client =
            RawClient { socket: tokio::net::TcpStream::connect(at).await.unwrap(), seen: Vec::new() };
        client
            .send(format!("{line} HTTP/1.1\r\nhost: r\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"))
            .await;
        client.rest().await
    };
    assert!(ask("GET /readiness").await.starts_with("HTTP/1.1 200 "));
    let stopping = tokio::spawn(router.shutdown());
    while ask("GET /readiness").await.starts_with("HTTP/1.1 200 ") {
        tokio::task::yield_now().await;
    }
    assert!(ask("GET /readiness").await.starts_with("HTTP/1.1 503 "));
    assert!(ask("GET /health").await.starts_with("HTTP/1.1 200 "), "a liveness probe must not end it early");
    assert!(ask("POST /generate").await.starts_with("HTTP/1.1 200 "));
    stopping.abort();
}

#[tokio::test]
async fn unreachable_worker_loses_no_request() {
    let alive = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    // Trusted at first: without this the health checks would find it out before the first request.
    let gone = worker(|incoming| async move { drop(incoming) }).await;
    let router = router(options(&[alive, gone])).await;
    for _ in 0..20 {
        let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(router.in_flight(), 0);
    assert!(!crate::support::metric(&router, "sgl_router_retries_total").await.is_empty());
}

#[tokio::test]
async fn last_failure_reaches_the_client() {
    let closes = worker(|incoming| async move { drop(incoming) }).await;
    let router = router(options(&[closes])).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(code(&answer), "worker_disconnected");
    assert!(crate::support::header(&answer, "x-request-id").is_some());
}

#[tokio::test]
async fn invalid_response_is_502() {
    let address = worker(|mut incoming| async move {
        incoming.send("SSH-2.0-OpenSSH_9.2\r\n\r\n").await;
        incoming.closed().await;
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = post(&router, "/v1/chat/completions", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(code(&answer), "worker_invalid_response");
    assert!(!answer.contains("SSH"));
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn malformed_or_endless_response_is_502() {
    let address = worker(|mut incoming| async move {
        match incoming.path() {
            "/chunk" => {
                incoming.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n").await;
                incoming.closed().await;
            }
            // Until the router hangs up.
            _ => while incoming.socket.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.is_ok() {},
        }
    })
    .await;
    let router = router(options(&[address])).await;
    for path in ["/chunk", "/interim"] {
        let answer = post(&router, path, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{path}: {answer}");
        assert_eq!(code(&answer), "worker_invalid_response", "{path}");
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn silent_worker_ends_in_504() {
    let address = worker(|mut incoming| async move { incoming.closed().await }).await;
    let router = router(Options { request_timeout_secs: 1, ..options(&[address]) }).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(code(&answer), "worker_timeout");
    assert_eq!(router.in_flight(), 0);
}

#[tokio::test]
async fn truncated_response_is_truncated_for_client() {
    let address = worker(|mut incoming| async move {
        match incoming.path() {
            "/short" => incoming.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await,
            "/half" => {
                incoming
                    .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                incoming.send("10\r\ndata: {\"text\":\"a\r\n").await;
            }
            _ => incoming.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"to\":\"the end\"}").await,
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let short = post(&router, "/short", "{}").await;
    assert!(short.contains("content-length: 100\r\n") && short.ends_with("only this"), "{short}");
    let half = post(&router, "/half", r#"{"stream":true}"#).await;
    assert!(half.contains("data: {\"text\":\"a") && !half.ends_with("0\r\n\r\n"), "a fake end: {half}");
    let event = half.rsplit("\n\ndata: ").next().and_then(|e| e.split("\n\n").next()).unwrap();
    let event: serde_json::Value = serde_json::from_str(event).unwrap_or_else(|e| panic!("{e}: {half}"));
    assert_eq!(event["error"]["code"], "worker_cut_answer");
    let close = post(&router, "/until-close", "{}").await;
    assert!(close.contains("{\"to\":\"the end\"}") && close.ends_with("0\r\n\r\n"), "{close}");
    until(|| router.in_flight() == 0).await;
    let outcomes = crate::support::metric(&router, "sgl_router_worker_outcomes_total").await;
    let of = |kind: &str| outcomes.iter().find(|(l, _)| l.contains(kind)).map_or(0.0, |(_, v)| *v);
    assert_eq!((of("failed"), of("success")), (2.0, 1.0), "{outcomes:?}");
}

#[tokio::test]
async fn idle_stream_ends_with_error_event() {
    let address = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        incoming.send("9\r\ndata: 1\n\n\r\n").await;
        incoming.closed().await;
    })
    .await;
    let router = router(Options { stream_idle_timeout_secs: 0.1, ..options(&[address]) }).await;
    let answer = post(&router, "/generate", r#"{"stream":true}"#).await;
    assert!(answer.contains("data: 1\n\n") && answer.contains("\ndata: {\"error\":"), "{answer}");
    assert!(answer.contains("worker_silent") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn chunked_trailers_are_accepted() {
    let address = worker(|mut incoming| async move {
        incoming
            .send(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                 2\r\n{}\r\n0\r\nx-sum: 5\r\n\r\n",
            )
            .await;
        incoming.closed().await;
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = post(&router, "/generate", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("2\r\n{}\r\n0\r\n"), "{answer}");
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn invalid_json_body_is_forwarded() {
    let address = worker(|mut incoming| async move {
        assert_eq!(incoming.body, br#"{"messages": [{"role""#);
        incoming.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad").await;
    })
    .await;
    let router = router(options(&[address])).await;
    let answer = post(&router, "/v1/chat/completions", r#"{"messages": [{"role""#).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("bad"), "{answer}");
}

#[tokio::test]
async fn large_body_is_forwarded() {
    let address = worker(|mut incoming| async move {
        let n = incoming.body.len();
        incoming.send_json(&format!(r#"{{"got":{n}}}"#)).await;
    })
    .await;
    let router = router(options(&[address])).await;
    let body = format!(r#"{{"text":"{}"}}"#, "a".repeat(100 << 20));
    let answer = post(&router, "/generate", &body).await;
    assert!(
        answer.ends_with(&format!(r#"{{"got":{}}}"#, body.len())),
        "{}",
        &answer[..200.min(answer.len())]
    );
}

#[tokio::test]
async fn shutdown_lets_responses_finish() {
    let (go, mut gone) = tokio::sync::mpsc::unbounded_channel::<()>();
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let open = std::sync::Arc::clone(&gate);
    let address = worker(move |mut incoming| {
        let (open, go) = (std::sync::Arc::clone(&open), go.clone());
        async move {
            let _ = go.send(());
            open.notified().await;
            incoming.send_json(r#"{"late":true}"#).await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    let (listen, mut client) = (router.address(), RawClient::connect(&router).await);
    client.post("/generate", "{}").await;
    gone.recv().await.unwrap();
    let stopping = tokio::spawn(router.shutdown());
    let refused = async {
        while tokio::net::TcpStream::connect(listen).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, refused).await.expect("still accepting");
    assert!(!stopping.is_finished(), "a request is still running");
    gate.notify_one();
    assert!(client.rest().await.ends_with(r#"{"late":true}"#));
    assert_eq!(stopping.await.unwrap(), 0, "no request was cut");
}
