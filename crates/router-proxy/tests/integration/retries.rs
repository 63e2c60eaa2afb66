//! Another worker takes over whatever can be saved: before the first byte, within bounds, and never twice.

use crate::support::{
    RawClient, get, metric, options, post, router, start, sum, until, until_metric, worker,
};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, Fault, FaultKind, FleetSpec};
use router_proxy::RunningRouter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

const OK: &str = "HTTP/1.1 200 ";

async fn emulated(line: &str) -> EmulatedFleet {
    let spec: FleetSpec = line.parse().unwrap();
    EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap()
}

async fn over(fleet: &EmulatedFleet, options: Options) -> RunningRouter {
    let router = start(Options { worker_urls: fleet.urls(), ..options }).await;
    until(|| router.healthy_workers() == fleet.servers.len()).await;
    router
}

/// Sends `count` requests, every second one streamed, at most 16 at a time; how many were answered whole.
async fn answered(router: &Arc<RunningRouter>, count: usize) -> usize {
    let seats = Arc::new(Semaphore::new(16));
    let mut clients = JoinSet::new();
    for n in 0..count {
        let seat = Arc::clone(&seats).acquire_owned().await.unwrap();
        let router = Arc::clone(router);
        clients.spawn(async move {
            let stream = n % 2 == 0;
            let body = format!(
                r#"{{"text":"hi {n}","stream":{stream},"sampling_params":{{"max_new_tokens":4,"ignore_eos":true}}}}"#
            );
            let answer = post(&router, "/generate", &body).await;
            drop(seat);
            answer.starts_with(OK) && (!stream || answer.contains("data: [DONE]"))
        });
    }
    clients.join_all().await.into_iter().filter(|good| *good).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_failing_workers_cost_no_request() {
    let fleet = emulated("sglang_8b@20*4").await;
    let defaults = Options { policy: Options::default().policy, ..options(&[]) };
    let router = Arc::new(over(&fleet, defaults).await);
    assert_eq!(answered(&router, 40).await, 40);
    fleet.servers[0].set_fault(Fault::new(FaultKind::Crash));
    fleet.servers[1].set_fault(Fault::new(FaultKind::Status));
    assert_eq!(answered(&router, 600).await, 600);
    until(|| router.in_flight() == 0).await;
    assert!(sum(&metric(&router, "sgl_router_retries_total").await) > 0.0);
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
}

/// An error inside a 200 counts as the status that it stands for: the breaker opens, and the worker is left alone.
#[tokio::test]
async fn error_inside_200_counts_as_failure() {
    const ERRORS: [(&str, &str); 3] = [
        (
            "text/event-stream",
            "data: {\"error\":{\"object\":\"error\",\"message\":\"it broke\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}\n\ndata: [DONE]\n\n",
        ),
        ("text/event-stream", "data: {\"error\":{\"message\":\"it broke\",\"type\":\"api_error\"}}\n\n"),
        ("application/json", "{\"error\":{\"message\":\"it broke\",\"code\":500}}"),
    ];
    for (media_type, body) in ERRORS {
        let attempts = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&attempts);
        let bad = worker(move |mut incoming| {
            let is_asked = incoming.path() == "/v1/completions";
            count.fetch_add(usize::from(is_asked), Ordering::Relaxed);
            async move {
                let len = body.len();
                incoming
                    .send(format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {len}\r\n\r\n{body}"
                    ))
                    .await;
            }
        })
        .await;
        let good = || {
            worker(|mut incoming| async move {
                let body = "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: [DONE]\n\n";
                let len = body.len();
                incoming.send(format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len}\r\n\r\n{body}")).await;
            })
        };
        let workers = [bad, good().await, good().await];
        let router = router(Options { policy: "round_robin".to_owned(), ..options(&workers) }).await;
        for n in 0..120 {
            let answer = post(&router, "/v1/completions", r#"{"prompt":"a","stream":true}"#).await;
            assert!(answer.starts_with(OK) && !answer.contains("it broke"), "{media_type} {n}: {answer}");
        }
        assert!(attempts.load(Ordering::Relaxed) <= 12, "{media_type}: {attempts:?}");
        assert_eq!(sum(&metric(&router, "sgl_router_worker_cb_state").await), 1.0, "one breaker is open");
    }
}

#[tokio::test]
async fn stream_failing_before_first_byte_is_retried() {
    let bad = worker(|mut incoming| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let full = r#"data: {"error":{"message":"The request queue is full.","code":503}}"#;
        match incoming.path() {
            // SGLang 0.4.10 with a full queue, without and with an API key; 0.5.23.
            "/generate" => incoming.send(head).await,
            "/v1/completions" => incoming.send(format!("{head}0\r\n\r\n")).await,
            _ => incoming.send(format!("{head}{:x}\r\n{full}\n\n\r\n0\r\n\r\n", full.len() + 2)).await,
        }
    })
    .await;
    let good = worker(|mut incoming| async move {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        incoming.send(format!("{head}data: {{\"good\":1}}\n\ndata: [DONE]\n\n")).await;
    })
    .await;
    let router = router(options(&[bad, good])).await;
    for path in ["/generate", "/v1/completions", "/v1/chat/completions"] {
        for _ in 0..2 {
            let answer = post(&router, path, r#"{"stream":true}"#).await;
            assert!(answer.starts_with(OK) && answer.contains(r#"{"good":1}"#), "{path}: {answer}");
            assert!(!answer.contains("full") && answer.matches("HTTP/1.1").count() == 1, "{path}: {answer}");
        }
    }
    until(|| router.in_flight() == 0).await;
}

/// A worker that always has no room, and counts who asks.
async fn full(name: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let address = worker(move |mut incoming| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            let head = "HTTP/1.1 503 Service Unavailable\r\nx-queue: full\r\nretry-after: 7\r\n";
            incoming.send(format!("{head}content-length: {}\r\n\r\n{name} is full", name.len() + 8)).await;
        }
    })
    .await;
    (address, asked)
}

#[tokio::test]
async fn overloaded_worker_cools_down_without_fault() {
    let (busy, asked) = full("busy").await;
    let good = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(Options { cb_failure_threshold: 1, ..options(&[busy, good]) }).await;
    for _ in 0..20 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with(OK));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "it said that it would have no room for 7 s");
    assert_eq!(sum(&metric(&router, "sgl_router_worker_cb_transitions_total").await), 0.0);
    assert_eq!(router.healthy_workers(), 2);
}

#[tokio::test]
async fn last_overload_response_passes_unmodified() {
    let ((one, _), (two, _)) = (full("one").await, full("two").await);
    let failing = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nboom").await;
    })
    .await;
    let router = router(options(&[one, two, failing])).await;
    for _ in 0..3 {
        let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("x-queue: full\r\n") && answer.ends_with(" is full"), "{answer}");
        assert!(crate::support::header(&answer, "x-sglang-worker").is_some(), "{answer}");
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn last_worker_error_passes_unmodified() {
    let fails = |mut incoming: crate::support::Incoming| async move {
        incoming.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 9\r\n\r\nout of it").await;
    };
    let router = router(options(&[worker(fails).await, worker(fails).await])).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("out of it"), "{answer}");
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 1.0);
}

#[tokio::test]
async fn client_error_never_opens_a_breaker() {
    let bad = |mut incoming: crate::support::Incoming| async move {
        incoming.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad").await;
    };
    let options = Options { cb_failure_threshold: 1, ..options(&[worker(bad).await, worker(bad).await]) };
    let router = router(options).await;
    for _ in 0..10 {
        assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 400 "));
    }
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 0.0);
    assert_eq!(sum(&metric(&router, "sgl_router_worker_cb_transitions_total").await), 0.0);
}

#[tokio::test]
async fn retries_end_with_the_budget() {
    let failing = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nboom").await;
    })
    .await;
    let good = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let options = Options {
        retry_budget: 0.0,
        disable_circuit_breaker: true,
        health_check_interval_secs: 3600.0,
        ..options(&[failing, good])
    };
    let router = router(options).await;
    let mut failed = 0;
    for _ in 0..240 {
        let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
        failed += usize::from(answer.starts_with("HTTP/1.1 500 "));
    }
    assert!(sum(&metric(&router, "sgl_router_retries_total").await) >= 100.0, "the reserve");
    let over = sum(&metric(&router, "sgl_router_retry_budget_exhausted_total").await);
    assert!(failed > 0 && over == failed as f64, "{failed} failed, {over} forgone");
}

/// Two workers of which the first that is asked holds that request, and then does `then` with others.
async fn holder_and_helper(
    then: &'static str,
) -> ([std::net::SocketAddr; 2], mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicUsize::new(0));
    let holder = Arc::new(parking_lot::Mutex::new(None));
    let make = |name: usize| {
        let (tell, asked, holder) = (tell.clone(), Arc::clone(&asked), Arc::clone(&holder));
        worker(move |mut incoming| {
            let (tell, asked, holder) = (tell.clone(), Arc::clone(&asked), Arc::clone(&holder));
            async move {
                if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                    *holder.lock() = Some(name);
                    let _ = tell.send("held");
                    incoming.closed().await;
                    let _ = tell.send("dropped");
                } else if *holder.lock() == Some(name) {
                    incoming.send(then).await;
                } else {
                    incoming.send_json(r#"{"from":"helper"}"#).await;
                }
            }
        })
    };
    let addresses = [make(0).await, make(1).await];
    (addresses, told)
}

#[tokio::test]
async fn request_moves_when_breaker_opens() {
    let failing = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nboom";
    let (addresses, mut told) = holder_and_helper(failing).await;
    let router = router(Options { cb_failure_threshold: 1, ..options(&addresses) }).await;
    let mut waiting = RawClient::connect(&router).await;
    waiting.post("/generate", r#"{"text":"a","stream":true}"#).await;
    assert_eq!(told.recv().await, Some("held"));
    for _ in 0..2 {
        assert!(post(&router, "/generate", r#"{"text":"b"}"#).await.starts_with(OK));
    }
    assert!(waiting.see("helper").await.starts_with(OK));
    assert_eq!(told.recv().await, Some("dropped"), "the worker in trouble is told to stop");
    assert_eq!(sum(&metric(&router, "sgl_router_moves_total").await), 1.0);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn request_moves_when_health_check_fails() {
    let fleet = emulated("sglang_8b@20*2").await;
    let checks = Options { health_check_interval_secs: 0.05, health_check_timeout_secs: 0.2, ..options(&[]) };
    let router = Arc::new(over(&fleet, checks).await);
    fleet.servers[0].set_fault(Fault { health: true, ..Fault::new(FaultKind::Hang) });
    assert_eq!(answered(&router, 20).await, 20);
    assert!(sum(&metric(&router, "sgl_router_moves_total").await) > 0.0);
    assert_eq!(router.healthy_workers(), 1);
    fleet.servers[0].clear_fault();
    until(|| router.healthy_workers() == 2).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn draining_worker_finishes_its_requests() {
    let (gate, listener) = (Arc::new(Notify::new()), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let stopping = listener.local_addr().unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let open = Arc::clone(&gate);
    let accepting = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (open, tell) = (Arc::clone(&open), tell.clone());
            tokio::spawn(async move {
                let Some((head, body)) = crate::support::read_message(&mut socket).await else { return };
                let mut incoming = crate::support::Incoming { head, body, socket };
                if incoming.path() == "/generate" {
                    let _ = tell.send(());
                    open.notified().await;
                }
                // Each check needs a connection of its own.
                incoming.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]").await;
            });
        }
    });
    let other = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let checks = Options { health_check_interval_secs: 0.05, ..options(&[stopping, other]) };
    let router = router(checks).await;
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", r#"{"text":"a"}"#).await;
        clients.push(client);
    }
    told.recv().await.unwrap();
    accepting.abort();
    until(|| router.healthy_workers() == 1).await;
    gate.notify_one();
    let mut answers = Vec::new();
    for client in &mut clients {
        let head = client.see("\r\n\r\n").await.find("\r\n\r\n").unwrap() + 4;
        client.see_bytes(head + 2).await;
        answers.push(String::from_utf8_lossy(&client.seen).into_owned());
    }
    assert!(answers.iter().any(|a| a.ends_with("[]")), "{answers:?}");
    assert_eq!(sum(&metric(&router, "sgl_router_moves_total").await), 0.0);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn slow_request_is_hedged() {
    let (addresses, mut told) = holder_and_helper("").await;
    let router = router(Options { hedge_after: Some("50ms".to_owned()), ..options(&addresses) }).await;
    let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
    assert!(answer.starts_with(OK) && answer.ends_with(r#"{"from":"helper"}"#), "{answer}");
    assert_eq!((told.recv().await, told.recv().await), (Some("held"), Some("dropped")));
    for name in ["sgl_router_hedges_total", "sgl_router_hedge_wins_total"] {
        assert_eq!(sum(&metric(&router, name).await), 1.0, "{name}");
    }
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 0.0);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn request_waits_for_unavailable_worker() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let router = start(Options { queue_when_unavailable: true, ..options(&[address]) }).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", r#"{"text":"a"}"#).await;
    until_metric(&router, "sgl_router_waiting_for_worker", 1.0).await;
    let listener = TcpListener::bind(address).await.unwrap();
    crate::support::serve_on(
        listener,
        |mut incoming| async move { incoming.send_json(r#"{"late":1}"#).await },
    );
    assert!(client.see("late").await.starts_with(OK));
    until_metric(&router, "sgl_router_waiting_for_worker", 0.0).await;
    let state = get(&router, "/workers").await;
    assert!(state.contains(r#""state":"healthy""#), "{state}");
}

#[tokio::test]
async fn request_waits_for_lost_worker() {
    let fleet = emulated("sglang_8b@20*1").await;
    let router = over(&fleet, Options { queue_when_unavailable: true, ..options(&[]) }).await;
    fleet.servers[0].set_fault(Fault { duration_secs: Some(0.3), ..Fault::new(FaultKind::Crash) });
    let answer = post(&router, "/generate", r#"{"text":"a","sampling_params":{"max_new_tokens":2}}"#).await;
    assert!(answer.starts_with(OK), "{answer}");
    fleet.shutdown().await;
}

/// A worker that does not speak HTTP, beside one that serves; every request goes to the former first.
async fn invalid_and_good(options: Options) -> RunningRouter {
    let bad = worker(|mut incoming| async move { incoming.send("nonsense\r\n\r\n").await }).await;
    let good = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let urls = [bad, good].map(|address| format!("http://{address}"));
    router(Options {
        worker_urls: urls.to_vec(),
        policy: "passthrough".to_owned(),
        disable_circuit_breaker: true,
        worker_max_in_flight: Some(8),
        retry_initial_backoff_ms: 1,
        ..options
    })
    .await
}

#[tokio::test]
async fn spent_budget_stops_retries_at_capped_workers() {
    let router = invalid_and_good(Options { retry_budget: 0.0, ..options(&[]) }).await;
    for n in 0..100 {
        assert!(post(&router, "/generate", "{}").await.starts_with(OK), "request {n} is within the reserve");
    }
    let refused = post(&router, "/generate", "{}").await;
    assert!(refused.starts_with("HTTP/1.1 502 ") && refused.contains("worker_invalid_response"), "{refused}");
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 100.0);
    assert_eq!(sum(&metric(&router, "sgl_router_retry_budget_exhausted_total").await), 1.0);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn disabled_retries_stay_disabled_at_capped_workers() {
    let router = invalid_and_good(Options { disable_retries: true, ..options(&[]) }).await;
    assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 502 "));
    assert_eq!(sum(&metric(&router, "sgl_router_retries_total").await), 0.0);
    assert_eq!(sum(&metric(&router, "sgl_router_retries_exhausted_total").await), 1.0);
    until(|| router.in_flight() == 0).await;
}
