//! A worker that fails is left alone, probed with one request at a time, and trusted again.

use crate::support::{
    PATIENCE, RawClient, body, get, metric, options, post, router, sum, until, until_metric, worker,
};
use router_config::Options;
use router_proxy::RunningRouter;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, mpsc};

const OK: &str = "HTTP/1.1 200 ";
const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nboom";

async fn breaker_of(router: &RunningRouter, address: SocketAddr) -> Value {
    let workers = body(&get(router, "/workers").await);
    let url = format!("http://{address}");
    let worker = workers["workers"].as_array().unwrap().iter().find(|w| w["url"] == url.as_str()).cloned();
    worker.unwrap()["breaker"].clone()
}

async fn until_breaker(router: &RunningRouter, address: SocketAddr, state: &str) {
    let wait = async {
        while breaker_of(router, address).await["state"] != state {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("the breaker never was {state}"));
}

#[tokio::test]
async fn half_open_breaker_probes_singly() {
    // Without permits it fails; with one, it answers one request.
    let permits = Arc::new(Semaphore::new(0));
    let healed = Arc::new(AtomicUsize::new(0));
    let (tell, mut told) = mpsc::unbounded_channel();
    let (gate, well) = (Arc::clone(&permits), Arc::clone(&healed));
    let bad = worker(move |mut incoming| {
        let (gate, well, tell) = (Arc::clone(&gate), Arc::clone(&well), tell.clone());
        async move {
            let _ = tell.send(());
            if well.load(Ordering::SeqCst) == 0 {
                incoming.send(FAILED).await;
                return;
            }
            gate.acquire().await.unwrap().forget();
            incoming.send_json(r#"{"from":"probed"}"#).await;
        }
    })
    .await;
    let good = worker(|mut incoming| async move { incoming.send_json(r#"{"from":"good"}"#).await }).await;
    let router = router(Options {
        cb_failure_threshold: 3,
        cb_success_threshold: 2,
        cb_timeout_duration_secs: 0.2,
        ..options(&[bad, good])
    })
    .await;
    while breaker_of(&router, bad).await["state"] == "closed" {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with(OK));
    }
    // It got 3 requests until the breaker opened, and those that were dispatched before.
    assert!(sum(&metric(&router, "sgl_router_worker_cb_transitions_total").await) >= 1.0);
    healed.store(1, Ordering::SeqCst);
    until_breaker(&router, bad, "half_open").await;
    while told.try_recv().is_ok() {}
    // Requests in turn go to either, until one is the probe and waits.
    let mut probes = Vec::new();
    while told.try_recv().is_err() {
        let mut client = RawClient::connect(&router).await;
        client.post("/generate", r#"{"text":"a"}"#).await;
        tokio::select! {
            _ = client.see("from") => {}
            _ = told.recv() => { probes.push(client); break }
        }
    }
    for _ in 0..6 {
        let answer = post(&router, "/generate", r#"{"text":"a"}"#).await;
        assert!(answer.ends_with(r#"{"from":"good"}"#), "a second probe: {answer}");
    }
    assert!(told.try_recv().is_err(), "the worker was asked while a probe was on its way");
    permits.add_permits(100);
    let mut probe = probes.pop().expect("the probe went to the worker");
    assert!(probe.see("probed").await.starts_with(OK));
    while breaker_of(&router, bad).await["state"] != "closed" {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with(OK));
    }
    until_metric(&router, "sgl_router_worker_cb_state", 0.0).await;
    until(|| router.in_flight() == 0).await;
}

#[tokio::test]
async fn panic_mode_ignores_open_breakers() {
    let lone = worker(|mut incoming| async move {
        if incoming.body.len() > 2 {
            incoming.send(FAILED).await;
        } else {
            incoming.send_json("{}").await;
        }
    })
    .await;
    let router = router(Options { cb_failure_threshold: 1, ..options(&[lone]) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 500 "));
    assert_eq!(breaker_of(&router, lone).await["state"], "open");
    assert_eq!(sum(&metric(&router, "sgl_router_worker_cb_state").await), 1.0);
    assert!(post(&router, "/generate", "{}").await.starts_with(OK), "there is nobody else to ask");
    assert_eq!(breaker_of(&router, lone).await["state"], "half_open");
    for _ in 0..2 {
        assert!(post(&router, "/generate", "{}").await.starts_with(OK));
    }
    assert_eq!(breaker_of(&router, lone).await["state"], "closed");
}

#[tokio::test]
async fn cancelled_probe_frees_its_slot() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let lone = worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            match incoming.body.len() {
                2 => incoming.send_json("{}").await,
                3 => {
                    let _ = tell.send(());
                    incoming.closed().await;
                }
                _ => incoming.send(FAILED).await,
            }
        }
    })
    .await;
    let router =
        router(Options { cb_failure_threshold: 1, cb_success_threshold: 1, ..options(&[lone]) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 500 "));
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", "{ }").await;
    told.recv().await.unwrap();
    drop(client);
    until(|| router.in_flight() == 0).await;
    assert!(post(&router, "/generate", "{}").await.starts_with(OK));
    assert_eq!(breaker_of(&router, lone).await["state"], "closed");
}

#[tokio::test]
async fn switched_off_it_never_keeps_anybody_out() {
    let bad = worker(|mut incoming| async move { incoming.send(FAILED).await }).await;
    let options = Options { disable_circuit_breaker: true, cb_failure_threshold: 1, ..options(&[bad]) };
    let router = router(options).await;
    for _ in 0..5 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 500 "));
    }
    assert!(breaker_of(&router, bad).await.is_null());
}
