//! Too many requests, too many bytes, too slow clients: what is bounded, and what waits.

use crate::support::{RawClient, get, metric, options, post, router, until, worker};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec, RunningEmulator, SglangVersion};
use router_engine::EngineProfile;
use router_proxy::RunningRouter;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, mpsc};

/// A worker that answers a request when the gate lets it; tells the bodies in the order in which they come.
async fn gated(gate: &Arc<Semaphore>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let gate = Arc::clone(gate);
    let address = worker(move |mut incoming| {
        let (gate, tell) = (Arc::clone(&gate), tell.clone());
        async move {
            let _ = tell.send(String::from_utf8(incoming.body.clone()).unwrap());
            gate.acquire().await.unwrap().forget();
            incoming.send_json("{}").await;
        }
    })
    .await;
    (address, told)
}

async fn queued(router: &RunningRouter, count: f64) {
    let wait = async {
        while metric(router, "sgl_router_queued_requests").await[0].1 != count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, wait).await.expect("never so many in the queue");
}

async fn ask(router: &RunningRouter, body: &str) -> RawClient {
    let mut client = RawClient::connect(router).await;
    client.post("/generate", body).await;
    client
}

#[tokio::test]
async fn excess_requests_queue_in_order_then_fail() {
    let gate = Arc::new(Semaphore::new(0));
    let (address, mut told) = gated(&gate).await;
    let bounded = Options { max_concurrent_requests: 1, queue_size: 2, ..options(&[address]) };
    let router = router(bounded).await;
    let mut clients = vec![ask(&router, "0").await];
    assert_eq!(told.recv().await.unwrap(), "0");
    for n in 1..=2 {
        clients.push(ask(&router, &n.to_string()).await);
        queued(&router, f64::from(n)).await;
    }
    let refused = post(&router, "/generate", "3").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains(r#""code":"queue_full""#), "{refused}");
    assert_eq!(crate::support::header(&refused, "retry-after"), Some("1"));
    assert_eq!(router.in_flight(), 1, "who waits is on no worker");
    for (n, client) in clients.iter_mut().enumerate() {
        gate.add_permits(1);
        assert!(client.see("{}").await.starts_with("HTTP/1.1 200 "));
        if n < 2 {
            assert_eq!(told.recv().await.unwrap(), (n + 1).to_string());
        }
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn permit_lasts_as_long_as_the_response() {
    let next = Arc::new(Notify::new());
    let go = Arc::clone(&next);
    let address = worker(move |mut incoming| {
        let go = Arc::clone(&go);
        async move {
            incoming
                .send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            incoming.send("9\r\ndata: 1\n\n\r\n").await;
            go.notified().await;
            incoming.send("0\r\n\r\n").await;
        }
    })
    .await;
    let bounded = Options { max_concurrent_requests: 1, queue_size: 1, ..options(&[address]) };
    let router = router(bounded).await;
    let mut first = ask(&router, "{}").await;
    first.see("data: 1").await;
    let mut second = ask(&router, "{}").await;
    queued(&router, 1.0).await;
    assert!(post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 429 "), "a stream holds its permit");
    next.notify_one();
    first.see("\r\n0\r\n\r\n").await;
    second.see("data: 1").await;
    drop(second);
    let mut third = ask(&router, "{}").await;
    third.see("data: 1").await;
}

#[tokio::test]
async fn disconnected_client_leaves_the_queue() {
    let gate = Arc::new(Semaphore::new(0));
    let (address, mut told) = gated(&gate).await;
    for bounded in [
        Options { max_concurrent_requests: 1, ..options(&[address]) },
        Options { worker_max_in_flight: Some(1), ..options(&[address]) },
    ] {
        let router = router(bounded).await;
        let running = ask(&router, "0").await;
        told.recv().await.unwrap();
        let waiting = ask(&router, "1").await;
        queued(&router, 1.0).await;
        drop(waiting);
        queued(&router, 0.0).await;
        drop(running);
        until(|| router.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn queue_timeout_is_408() {
    let gate = Arc::new(Semaphore::new(0));
    let (address, mut told) = gated(&gate).await;
    let bounded = Options { max_concurrent_requests: 1, queue_timeout_secs: 0.05, ..options(&[address]) };
    let router = router(bounded).await;
    let _running = ask(&router, "0").await;
    told.recv().await.unwrap();
    let late = post(&router, "/generate", "1").await;
    assert!(late.starts_with("HTTP/1.1 408 ") && late.contains(r#""code":"queue_timeout""#), "{late}");
    let errors = metric(&router, "sgl_router_request_errors_total").await;
    assert!(errors.iter().any(|(l, v)| l.contains("queue_timeout") && *v == 1.0), "{errors:?}");
}

#[tokio::test]
async fn full_fleet_is_waited_for() {
    let gate = Arc::new(Semaphore::new(0));
    let (one, mut at_one) = gated(&gate).await;
    let (other, mut at_other) = gated(&gate).await;
    // round_robin would put every second request on a worker whatever its load.
    let capped = Options { worker_max_in_flight: Some(2), queue_size: 1, ..options(&[one, other]) };
    let router = router(capped).await;
    let mut clients = Vec::new();
    for n in 0..4 {
        clients.push(ask(&router, &n.to_string()).await);
        until(|| router.in_flight() == n + 1).await;
    }
    for told in [&mut at_one, &mut at_other] {
        told.recv().await.unwrap();
        told.recv().await.unwrap();
    }
    clients.push(ask(&router, "4").await);
    queued(&router, 1.0).await;
    let refused = post(&router, "/generate", "5").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("workers_at_capacity"), "{refused}");
    assert_eq!(crate::support::header(&refused, "retry-after"), Some("1"));
    assert_eq!((router.in_flight(), router.healthy_workers()), (4, 2), "full is not unhealthy");
    gate.add_permits(5);
    for client in &mut clients {
        assert!(client.see("{}").await.starts_with("HTTP/1.1 200 "));
    }
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn waiting_is_bounded_by_default() {
    let spec = "sglang_8b:max_running=130".parse().unwrap();
    let config = EmulatorConfig::new(EngineProfile::named("sglang_8b").unwrap());
    let fleet = EmulatedFleet::start(&spec, None, &config).await.unwrap();
    let router = router(Options { worker_urls: fleet.urls(), ..options(&[]) }).await;
    let is_known = || async { get(&router, "/workers").await.contains(r#""max_running_requests":130"#) };
    while !is_known().await {
        tokio::task::yield_now().await;
    }
    let long = r#"{"text":"a","stream":true,"sampling_params":{"max_new_tokens":4000,"ignore_eos":true}}"#;
    let mut clients = Vec::new();
    for _ in 0..360 {
        clients.push(ask(&router, long).await);
    }
    until(|| router.in_flight() == 260).await;
    queued(&router, 100.0).await;
    let refused = post(&router, "/generate", long).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("workers_at_capacity"), "{refused}");
    assert_eq!(crate::support::header(&refused, "retry-after"), Some("1"));
    drop(clients);
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn bodies_over_total_limit_are_shed() {
    let gate = Arc::new(Semaphore::new(0));
    let (address, mut told) = gated(&gate).await;
    let router = router(Options { max_buffered_bytes: 150_000, ..options(&[address]) }).await;
    let large = "x".repeat(100_000);
    let mut first = ask(&router, &large).await;
    told.recv().await.unwrap();
    assert_eq!(metric(&router, "sgl_router_buffered_body_bytes").await[0].1, 100_000.0);
    let announced = post(&router, "/generate", &large).await;
    assert!(announced.starts_with("HTTP/1.1 503 ") && announced.contains("body_memory"), "{announced}");
    assert_eq!(crate::support::header(&announced, "retry-after"), Some("1"));
    let mut chunked = RawClient::connect(&router).await;
    chunked.send("POST /generate HTTP/1.1\r\nhost: r\r\ntransfer-encoding: chunked\r\n\r\n").await;
    chunked.send(format!("186a0\r\n{large}\r\n0\r\n\r\n")).await;
    assert!(chunked.see("\r\n\r\n{").await.starts_with("HTTP/1.1 503 "));
    gate.add_permits(2);
    first.see("{}").await;
    assert!(post(&router, "/generate", &large).await.starts_with("HTTP/1.1 200 "), "there is room again");
    assert_eq!(metric(&router, "sgl_router_buffered_body_bytes").await[0].1, 0.0);
}

#[tokio::test]
async fn silent_client_is_disconnected() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let hasty = Options {
        client_header_timeout_secs: 0.05,
        client_body_timeout_secs: 1.0,
        max_concurrent_requests: 1,
        queue_size: 0,
        ..options(&[address])
    };
    let router = router(hasty).await;
    let mut idle = RawClient::connect(&router).await;
    let mut half = RawClient::connect(&router).await;
    half.send("POST /generate HTTP/1.1\r\nhost: r\r\n").await;
    let mut kept = RawClient::connect(&router).await;
    kept.post("/generate", "{}").await;
    kept.see("{}").await;
    let mut slow = RawClient::connect(&router).await;
    // Its body is asked for, so it is past the door before the others come, which other threads may serve.
    slow.send("POST /generate HTTP/1.1\r\nhost: r\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n")
        .await;
    slow.see("100 Continue\r\n\r\n").await;
    slow.seen.clear();
    slow.send("{").await;
    let others = post(&router, "/generate", "{}").await;
    assert!(others.starts_with("HTTP/1.1 200 "), "a slow body takes no permit: {others}");
    let answer = slow.rest().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("client_timeout"), "{answer}");
    for (client, name) in [(&mut idle, "idle"), (&mut half, "half a head"), (&mut kept, "kept alive")] {
        client.rest().await;
        assert!(client.seen.is_empty() || client.seen.ends_with(b"{}"), "{name}");
    }
}

#[tokio::test]
async fn client_that_reads_nothing_frees_its_worker() {
    let address = worker(|mut incoming| async move {
        incoming
            .send("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: 1073741824\r\n\r\n")
            .await;
        let block = vec![b'x'; 1 << 20];
        for _ in 0..64 {
            incoming.send(&block).await;
        }
    })
    .await;
    let router = router(Options { client_write_timeout_secs: 0.1, ..options(&[address]) }).await;
    let mut client = ask(&router, "{}").await;
    client.see("\r\n\r\n").await;
    until(|| router.in_flight() == 0).await;
}

/// Long requests straight to a server, as another router sends them; they end when they are dropped.
async fn occupy(server: &RunningEmulator, requests: u32) -> Vec<TcpStream> {
    let body = r#"{"text":"x","sampling_params":{"max_new_tokens":30000,"ignore_eos":true}}"#;
    let request =
        format!("POST /generate HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut sockets = Vec::new();
    for held in 1..=requests {
        let mut socket = TcpStream::connect(server.addr()).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        sockets.push(socket);
        until(|| server.stats().in_flight() == held).await;
    }
    sockets
}

#[tokio::test]
async fn overloaded_worker_is_left_out_until_it_reports_less() {
    let spec: FleetSpec = "sglang_8b*2:max_running=1".parse().unwrap();
    // The classic version reports its queue in responses alone.
    let config =
        EmulatorConfig { version: SglangVersion::Stock, ..EmulatorConfig::new(spec.parts[0].profile) };
    let fleet = EmulatedFleet::start(&spec, None, &config).await.unwrap();
    // round_robin needs no load reports; the bound alone has the workers polled.
    let bounded = Options {
        worker_urls: fleet.urls(),
        overload_waiting_requests: Some(3),
        load_poll_interval_ms: 10,
        ..options(&[])
    };
    let router = router(bounded).await;
    until(|| router.healthy_workers() == 2).await;
    let others = occupy(&fleet.servers[0], 4).await;
    crate::support::until_metric(&router, "sgl_router_fleet_overloaded", 1.0).await;
    let short = r#"{"text":"a","sampling_params":{"max_new_tokens":1}}"#;
    let serving = |answer: &str| crate::support::header(answer, "x-sglang-worker").unwrap().to_owned();
    for _ in 0..4 {
        assert_eq!(serving(&post(&router, "/generate", short).await), fleet.urls()[1]);
    }
    let workers = crate::support::body(&get(&router, "/workers").await);
    let is_overloaded = |n: usize| {
        let all = workers["workers"].as_array().unwrap();
        all.iter().find(|w| w["url"] == fleet.urls()[n].as_str()).unwrap()["is_overloaded"].clone()
    };
    assert_eq!((is_overloaded(0), is_overloaded(1)), (true.into(), false.into()));
    let busy = metric(&router, "sgl_router_worker_overloaded{").await;
    assert!(busy.iter().any(|(label, v)| label.contains(&fleet.urls()[0]) && *v == 1.0), "{busy:?}");
    drop(others);
    crate::support::until_metric(&router, "sgl_router_fleet_overloaded", 0.0).await;
    let mut seen: Vec<_> = Vec::new();
    for _ in 0..2 {
        seen.push(serving(&post(&router, "/generate", short).await));
    }
    seen.sort_unstable();
    let mut all = fleet.urls();
    all.sort_unstable();
    assert_eq!(seen, all);
    until(|| router.in_flight() == 0).await;
}
