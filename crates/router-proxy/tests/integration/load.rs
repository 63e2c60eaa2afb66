//! A fleet under load: no request is lost and nothing leaks, also when clients hang up.

use crate::support::{RawClient, start, until};
use router_config::Options;
use router_core::Rng;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const REQUESTS: usize = 2000;
const CONCURRENCY: usize = 64;

#[derive(Debug, Default)]
struct Tally {
    answered: AtomicUsize,
    hung_up: AtomicUsize,
}

/// A streamed or plain request, by its number; a tenth of the clients hang up midway.
async fn one(router: &router_proxy::RunningRouter, n: usize, tally: &Tally) {
    let mut rng = Rng::seeded(n as u64);
    let (stream, tokens) = (rng.below(2) == 0, 4 + rng.below(12));
    let (path, prompt) = match rng.below(3) {
        0 => (
            "/generate",
            format!(
                r#""text":"{}","sampling_params":{{"max_new_tokens":{tokens},"ignore_eos":true}}"#,
                "word ".repeat(n % 40)
            ),
        ),
        1 => (
            "/v1/completions",
            format!(r#""prompt":"{}","max_tokens":{tokens},"ignore_eos":true"#, "word ".repeat(n % 40)),
        ),
        _ => (
            "/v1/chat/completions",
            format!(
                r#""messages":[{{"role":"user","content":"hi {n}"}}],"max_tokens":{tokens},"ignore_eos":true"#
            ),
        ),
    };
    let mut client = RawClient::connect(router).await;
    client.post(path, &format!(r#"{{"model":"emulated","stream":{stream},{prompt}}}"#)).await;
    if n.is_multiple_of(10) {
        if stream {
            client.see("data: ").await;
        }
        tally.hung_up.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let answer = client.see(if stream { "\r\n0\r\n\r\n" } else { "\r\n\r\n" }).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "request {n}: {answer}");
    if stream {
        // Chunks end where a read ended, which may be within an event.
        assert!(
            crate::support::without_chunks(&answer).ends_with("data: [DONE]\n\n"),
            "request {n}: {answer}"
        );
    } else {
        let length: usize = crate::support::header(&answer, "content-length").unwrap().parse().unwrap();
        let head = answer.find("\r\n\r\n").unwrap() + 4;
        client.see_bytes(head + length).await;
    }
    tally.answered.fetch_add(1, Ordering::Relaxed);
}

async fn under(policy: &str) {
    let spec: FleetSpec = "sglang_1.5b@8*1,sglang_8b@8*2".parse().unwrap();
    let fleet = EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap();
    let urls = fleet.urls();
    let options =
        Options { worker_urls: urls.clone(), policy: policy.to_owned(), ..crate::support::options(&[]) };
    let router = Arc::new(start(options).await);
    until(|| router.healthy_workers() == urls.len()).await;
    let (tally, seats) = (Arc::new(Tally::default()), Arc::new(Semaphore::new(CONCURRENCY)));
    let mut clients = JoinSet::new();
    for n in 0..REQUESTS {
        let seat = Arc::clone(&seats).acquire_owned().await.unwrap();
        let (router, tally) = (Arc::clone(&router), Arc::clone(&tally));
        clients.spawn(async move {
            one(&router, n, &tally).await;
            drop(seat);
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    assert_eq!(tally.answered.load(Ordering::Relaxed), REQUESTS * 9 / 10, "{policy}");
    assert_eq!(tally.hung_up.load(Ordering::Relaxed), REQUESTS / 10, "{policy}");
    until(|| router.in_flight() == 0).await;
    until(|| fleet.servers.iter().all(|s| s.stats().in_flight() == 0)).await;
    let received: u64 = fleet.servers.iter().map(|s| s.stats().received).sum();
    assert!(received >= (REQUESTS * 9 / 10) as u64, "{policy}: the engines saw {received}");
    Arc::into_inner(router).unwrap().shutdown().await;
    fleet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_requests_under_each_policy() {
    for policy in ["round_robin", "cache_aware", "shortest_queue", "marginal_utility"] {
        under(policy).await;
    }
}
