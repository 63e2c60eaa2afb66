//! Control calls: they reach every worker, and the router knows which of them missed a weight update.

use crate::support::{
    PATIENCE, RawClient, body, get, header, metric, options, post, router, start, until, worker,
    worker_behind,
};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, Fault, FaultKind, FleetSpec, SglangVersion};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

const GENERATE: &str = r#"{"text":"a","sampling_params":{"max_new_tokens":2}}"#;
const UPDATE: &str = r#"{"model_path":"m","weight_version":"7"}"#;

async fn emulated(count: usize) -> EmulatedFleet {
    let spec: FleetSpec = format!("sglang_8b@20*{count}").parse().unwrap();
    let config =
        EmulatorConfig { version: SglangVersion::Stock, ..EmulatorConfig::new(spec.parts[0].profile) };
    EmulatedFleet::start(&spec, None, &config).await.unwrap()
}

async fn router_over(fleet: &EmulatedFleet, options: Options) -> RunningRouter {
    router(Options { worker_urls: fleet.urls(), ..options }).await
}

/// What `GET /workers` says of the worker at a URL.
async fn worker_at(router: &RunningRouter, url: &str) -> Value {
    let list = body(&get(router, "/workers").await);
    list["workers"].as_array().unwrap().iter().find(|w| w["url"] == url).unwrap().clone()
}

/// The workers that served some requests.
async fn serving(router: &RunningRouter) -> HashSet<String> {
    let mut workers = HashSet::new();
    for _ in 0..6 {
        let answer = post(router, "/generate", GENERATE).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        workers.insert(header(&answer, "x-sglang-worker").unwrap().to_owned());
    }
    workers
}

#[tokio::test]
async fn paused_fleet_waits_until_continued() {
    let fleet = emulated(2).await;
    let router = router_over(&fleet, options(&[])).await;
    let paused = post(&router, "/pause_generation", "{}").await;
    assert!(paused.starts_with("HTTP/1.1 200 "), "{paused}");
    let told = body(&paused);
    assert_eq!(
        (&told["success"], &told["total_workers"], &told["successful"]),
        (&true.into(), &2.into(), &2.into())
    );
    assert_eq!(told["workers"][1]["response"]["status"], "ok", "{told}");
    let mut client = RawClient::connect(&router).await;
    client.post("/generate", GENERATE).await;
    until(|| router.in_flight() == 1).await;
    assert!(post(&router, "/continue_generation", "").await.starts_with("HTTP/1.1 200 "));
    client.see("HTTP/1.1 200 ").await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn outdated_worker_waits_for_its_update() {
    let fleet = emulated(2).await;
    let urls = fleet.urls();
    let router = router_over(&fleet, options(&[])).await;
    fleet.servers[1].set_fault(Fault::new(FaultKind::FailUpdate));
    let answer = post(&router, "/update_weights_from_disk", UPDATE).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let told = body(&answer);
    assert_eq!((&told["success"], &told["status"]), (&false.into(), &"partial_success".into()), "{told}");
    let of =
        |url: &str| told["workers"].as_array().unwrap().iter().find(|w| w["worker"] == url).unwrap().clone();
    assert_eq!((&of(&urls[0])["success"], &of(&urls[1])["success"]), (&true.into(), &false.into()), "{told}");
    assert_eq!(of(&urls[1])["status"], 400);
    let missed = worker_at(&router, &urls[1]).await["missed_update"].clone();
    assert_eq!(
        (&missed["call"], &missed["weight_version"]),
        (&"/update_weights_from_disk".into(), &"7".into())
    );
    assert_eq!(missed["gets_requests"], false, "{missed}");
    assert!(missed["message"].as_str().unwrap().contains("fault on demand"), "{missed}");
    assert_eq!(
        metric(&router, "sgl_router_worker_outdated_weights{").await.iter().map(|m| m.1).sum::<f64>(),
        1.0
    );
    assert_eq!(serving(&router).await, HashSet::from([urls[0].clone()]));
    assert_eq!(body(&get(&router, "/readiness").await)["healthy_workers"], 1);

    fleet.servers[1].clear_fault();
    let answer = post(&router, &format!("/update_weights_from_disk?worker={}", urls[1]), UPDATE).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && body(&answer)["total_workers"] == 1, "{answer}");
    let current = worker_at(&router, &urls[1]).await;
    assert_eq!((&current["missed_update"], &current["weight_version"]), (&Value::Null, &"7".into()));
    assert_eq!(serving(&router).await.len(), 2);
    fleet.shutdown().await;
}

#[tokio::test]
async fn wrong_call_leaves_all_workers_current() {
    let fleet = emulated(2).await;
    let router = router_over(&fleet, options(&[])).await;
    let answer = post(&router, "/update_weights_from_disk", "{}").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("model_path is missing"), "{answer}");
    assert_eq!(serving(&router).await.len(), 2);
    let unknown = post(&router, "/flush_cache?worker=http://b:1", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404 ") && unknown.contains("http://b:1"), "{unknown}");
    assert!(get(&router, "/pause_generation").await.starts_with("HTTP/1.1 4"), "GET is no control call");
    fleet.shutdown().await;
}

#[tokio::test]
async fn outdated_weights_can_be_allowed() {
    let fleet = emulated(2).await;
    let router = router_over(&fleet, Options { allow_outdated_weights: true, ..options(&[]) }).await;
    fleet.servers[1].set_fault(Fault::new(FaultKind::FailUpdate));
    assert!(post(&router, "/update_weights_from_tensor", UPDATE).await.starts_with("HTTP/1.1 502 "));
    assert_eq!(worker_at(&router, &fleet.urls()[1]).await["missed_update"]["gets_requests"], true);
    assert_eq!(serving(&router).await.len(), 2);
    fleet.shutdown().await;
}

#[tokio::test]
async fn late_worker_is_compared_by_version() {
    let fleet = emulated(2).await;
    let urls = fleet.urls();
    let router = router(Options { worker_urls: vec![urls[0].clone()], ..options(&[]) }).await;
    assert!(post(&router, "/update_weights_from_disk", UPDATE).await.starts_with("HTTP/1.1 200 "));
    assert!(
        post(&router, "/workers", &format!(r#"{{"url":"{}"}}"#, urls[1])).await.starts_with("HTTP/1.1 202 ")
    );
    let wait = async {
        while worker_at(&router, &urls[1]).await["missed_update"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it has the weights that it started with");
    let missed = worker_at(&router, &urls[1]).await["missed_update"]["message"].clone();
    assert_eq!(missed, "it reports weight version default, the fleet has 7");
    assert_eq!(serving(&router).await, HashSet::from([urls[0].clone()]));
    assert!(post(&router, "/update_weights_from_disk", UPDATE).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(serving(&router).await.len(), 2);
    fleet.shutdown().await;
}

/// A worker that tells the paths and bodies of its requests.
async fn telling(tell: &mpsc::UnboundedSender<(String, String)>) -> std::net::SocketAddr {
    let tell = tell.clone();
    worker(move |mut incoming| {
        let tell = tell.clone();
        async move {
            let text = String::from_utf8_lossy(&incoming.body).into_owned();
            let _ = tell.send((incoming.path().to_owned(), text));
            incoming.send_json(r#"{"success":true}"#).await;
        }
    })
    .await
}

#[tokio::test]
async fn both_pools_get_control_calls() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (prefill, decode) = (telling(&tell).await, telling(&tell).await);
    let split = Options {
        pd_disaggregation: true,
        prefill: vec![format!("http://{prefill}")],
        decode: vec![format!("http://{decode}")],
        ..options(&[])
    };
    let router = start(split).await;
    until(|| router.healthy_workers() == 2).await;
    let answer = post(&router, "/sleep?level=2", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && body(&answer)["total_workers"] == 2, "{answer}");
    for _ in 0..2 {
        assert_eq!(told.recv().await.unwrap().0, "/sleep?level=2");
    }
    let one = post(&router, &format!("/sleep?worker=http://{prefill}&level=1"), "").await;
    assert_eq!(body(&one)["workers"][0]["worker"], format!("http://{prefill}"), "{one}");
    assert_eq!(told.recv().await.unwrap().0, "/sleep?level=1");
}

#[tokio::test]
async fn update_goes_on_without_its_client() {
    let gate = Arc::new(Notify::new());
    let slow = worker_behind(&gate, r#"{"success":false,"message":"no such file"}"#).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let quick = telling(&tell).await;
    let router = router(options(&[slow, quick])).await;
    let mut client = RawClient::connect(&router).await;
    client.post("/update_weights_from_disk", UPDATE).await;
    told.recv().await.unwrap();
    drop(client);
    gate.notify_one();
    crate::support::until_metric(&router, "sgl_router_worker_outdated_weights{", 1.0).await;
    let missed = worker_at(&router, &format!("http://{slow}")).await["missed_update"]["message"].clone();
    assert!(missed.as_str().unwrap().contains("no such file"), "{missed}");
    let failed = r#"sgl_router_control_calls_total{call="/update_weights_from_disk",outcome="failed"}"#;
    assert_eq!(metric(&router, failed).await[0].1, 1.0);
}

#[tokio::test]
async fn engine_metrics_join_all_workers() {
    let fleet = emulated(2).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let urls = [fleet.urls(), vec![format!("http://{dead}")]].concat();
    let router = start(Options { worker_urls: urls.clone(), ..options(&[]) }).await;
    let answer = get(&router, "/engine_metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    let page = crate::support::without_chunks(&answer);
    for (url, up) in [(&urls[0], 1), (&urls[1], 1), (&urls[2], 0)] {
        assert!(page.contains(&format!("sgl_router_engine_metrics_up{{worker=\"{url}\"}} {up}\n")), "{page}");
    }
    assert!(page.contains(&format!("# {}: ", urls[2])), "the reason is told: {page}");
    let mut families = HashSet::new();
    for line in page.lines().filter(|l| l.starts_with("# TYPE ")) {
        assert!(families.insert(line.split(' ').nth(2).unwrap()), "twice: {line}");
    }
    assert!(families.len() > 3, "{page}");
    let samples = page.lines().filter(|l| !l.starts_with('#') && !l.contains("_up{"));
    let (first, second): (Vec<_>, Vec<_>) =
        samples.partition(|l| l.contains(&format!("worker=\"{}\"", urls[0])));
    assert!(first.len() > 3 && first.len() == second.len(), "{page}");
    fleet.shutdown().await;
}

#[tokio::test]
async fn router_is_no_worker_of_its_own() {
    let router = start(Options { start_empty: true, ..options(&[]) }).await;
    let url = format!("http://localhost:{}", router.address().port());
    let joined = post(&router, "/workers", &format!(r#"{{"url":"{url}"}}"#)).await;
    assert!(joined.starts_with("HTTP/1.1 400 ") && joined.contains("own address"), "{joined}");
    let added = post(&router, &format!("/add_worker?url={url}"), "").await;
    assert!(added.starts_with("HTTP/1.1 400 ") && added.contains("own address"), "{added}");
    assert_eq!(body(&get(&router, "/workers").await)["total"], 0);
}
