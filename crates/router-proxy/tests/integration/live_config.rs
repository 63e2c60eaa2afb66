//! The configuration changes while requests run.

use crate::support::{
    body, get, header, metric, options, post, router, send, sum, until, worker, worker_behind,
};
use router_config::{ChangeError, Options, Source, SourcedOptions, Sources};
use router_proxy::{DryRun, RunningRouter};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

async fn patch(router: &RunningRouter, patch: &Value) -> Value {
    let answer = send(router, "PATCH", "/v1/config", &patch.to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    body(&answer)
}

async fn refused(router: &RunningRouter, path: &str, patch: &str) -> Value {
    let answer = send(router, "PATCH", path, patch).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    body(&answer)["error"].clone()
}

async fn option(router: &RunningRouter, key: &str) -> Value {
    body(&get(router, "/v1/config").await)["options"][key].clone()
}

/// The sums of a metric by the label `policy`.
async fn by_policy(router: &RunningRouter, name: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (series, value) in metric(router, name).await {
        let policy = series.split("policy=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        *sums.entry(policy).or_insert(0.0) += value;
    }
    sums
}

/// The decisions and the completions of a recording, by policy.
fn recorded(dir: &Path) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
    let (mut decisions, mut ends) = (BTreeMap::new(), BTreeMap::new());
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
            let is_end = row["selection_reason"] == "completion_record";
            let counts = if is_end { &mut ends } else { &mut decisions };
            *counts.entry(row["policy"].as_str().unwrap().to_owned()).or_insert(0.0) += 1.0;
        }
    }
    (decisions, ends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policy_changed_under_load_loses_nothing() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("live-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let answer = |mut incoming: crate::support::Incoming| async move {
        tokio::time::sleep(Duration::from_millis(3)).await;
        incoming.send_json("{\"meta_info\":{\"prompt_tokens\":9,\"completion_tokens\":4}}").await;
    };
    let workers = [worker(answer).await, worker(answer).await, worker(answer).await];
    let recording = Options {
        record_dir: Some(dir.clone()),
        record_format: router_config::RecordFormat::Jsonl,
        shadow_policies: vec!["cache_aware".to_owned()],
        ..options(&workers)
    };
    let router = Arc::new(router(recording).await);
    let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let client = || {
        let (router, sent, stop) = (Arc::clone(&router), Arc::clone(&sent), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Relaxed) {
                let prompt =
                    format!("{{\"text\":\"{} of one conversation\"}}", sent.fetch_add(1, Relaxed) % 7);
                let answer = post(&router, "/generate", &prompt).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
        })
    };
    let clients: Vec<_> = (0..12).map(|_| client()).collect();
    let turns = [
        ("marginal_cost", vec!["round_robin"]),
        ("cache_aware", vec![]),
        ("round_robin", vec!["cache_aware"]),
        ("cache_aware", vec!["marginal_cost"]),
        ("least_request", vec![]),
    ];
    for round in 0..4_u64 {
        for (n, (policy, shadows)) in (1..).zip(&turns) {
            let before = sent.load(Relaxed);
            patch(&router, &json!({"policy": policy, "shadow_policies": shadows})).await;
            until(|| sent.load(Relaxed) > before + 10 * n + round).await;
        }
    }
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    until(|| router.in_flight() == 0).await;
    let sent = sent.load(Relaxed) as f64;
    let decided = by_policy(&router, "sgl_router_fleet_decisions_total").await;
    assert_eq!(decided, by_policy(&router, "sgl_router_policy_reasons_total").await);
    assert_eq!(decided.values().sum::<f64>(), sent, "{decided:?}");
    assert_eq!(sum(&metric(&router, "sgl_router_policy_decisions_total").await), sent);
    let router = Arc::into_inner(router).unwrap();
    assert_eq!(router.shutdown().await, 0);
    let (decisions, ends) = recorded(&dir);
    assert_eq!(
        (&decisions, &ends),
        (&decided, &decided),
        "each decision, and its end, under the policy that made it"
    );
    assert_eq!(decided.len(), 4, "{decided:?}");
}

#[tokio::test]
async fn change_is_refused_as_a_whole() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let both = json!({"policy": "random", "port": 5, "max_concurrent_requests": 3, "tls_key_path": "k"});
    let error = refused(&router, "/v1/config", &both.to_string()).await;
    assert_eq!(
        (&error["code"], &error["options"]),
        (&json!("needs_restart"), &json!(["port", "tls_key_path"]))
    );
    assert!(
        error["message"].as_str().unwrap().contains("port needs a restart: the port is bound"),
        "{error}"
    );
    for (patch, code, part) in [
        (r#"{"polcy":"random"}"#, "unknown_option", "did you mean `policy`?"),
        (r#"{"policy":"randm"}"#, "invalid_config", "did you mean `random`?"),
        (r#"{"policy":7,"queue_size":1}"#, "invalid_config", "policy: "),
        (r#"{"queue_size":1,"queue_timeout_secs":-1}"#, "invalid_config", "--queue-timeout-secs"),
        (r#"{"policy":"random","policy_options":{"x":1}}"#, "invalid_config", "no options"),
        (r#"{"policy":"random","worker_urls":["ftp://x"]}"#, "invalid_config", "ftp"),
        (r#"{"api_key":"hush"}"#, "needs_restart", "api_key"),
        (r#"{"log_level":"debug"}"#, "needs_restart", "log_level"),
        (r#"{"policy":"marginal_utility_recorder"}"#, "needs_restart", "turns recording on"),
        ("[1]", "invalid_config", "JSON object"),
        ("{", "invalid_config", "JSON object"),
    ] {
        let error = refused(&router, "/v1/config", patch).await;
        assert_eq!(error["code"], code, "{patch}: {error}");
        assert!(error["message"].as_str().unwrap().contains(part), "{patch}: {error}");
        assert!(!error.to_string().contains("hush"));
    }
    refused(&router, "/v1/config?dry_run=perhaps", "{}").await;
    let huge = format!("{{\"policy\":\"{}\"}}", "x".repeat(2 << 20));
    assert!(!send(&router, "PATCH", "/v1/config", &huge).await.starts_with("HTTP/1.1 200 "));
    for (key, value) in [("policy", json!("round_robin")), ("queue_size", json!(100))] {
        assert_eq!(option(&router, key).await["value"], value);
    }
    assert_eq!(router.stats().policy, "round_robin");
}

#[tokio::test]
async fn dry_run_says_what_would_change() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(Options { api_key: Some("hush".to_owned().into()), ..options(&[address]) }).await;
    let outcome = router.patch_config(&json!({"policy": "random"}), DryRun::Yes).unwrap();
    let expected = json!([{"key": "policy", "from": "round_robin", "to": "random"}]);
    assert_eq!((&outcome["changed"], &outcome["dry_run"]), (&expected, &json!(true)));
    let shown = router.config();
    assert_eq!(
        shown["options"]["policy"],
        json!({"value": "round_robin", "source": "program", "live": true})
    );
    assert_eq!(shown["options"]["api_key"]["value"], "***");
    assert_eq!(shown["options"]["queue_size"]["source"], "default");
    assert!(!shown.to_string().contains("hush"));
    router.patch_config(&json!({"policy": "random"}), DryRun::No).unwrap();
    assert_eq!(router.config()["options"]["policy"]["source"], "api");
    assert_eq!(router.stats().policy, "random");
    let same = router.patch_config(&json!({"policy": "random"}), DryRun::No).unwrap();
    assert_eq!(same["changed"], json!([]));
}

#[tokio::test]
async fn limits_change_for_requests_that_wait() {
    let gate = Arc::new(Notify::new());
    let address = worker_behind(&gate, "{}").await;
    let router = Arc::new(router(Options { max_concurrent_requests: 1, ..options(&[address]) }).await);
    let ask = || {
        let router = Arc::clone(&router);
        tokio::spawn(async move { post(&router, "/generate", "{}").await })
    };
    let asked: Vec<_> = (0..3).map(|_| ask()).collect();
    until(|| router.in_flight() == 1 && router.stats().queued == 2).await;
    patch(&router, &json!({"max_concurrent_requests": 2, "queue_size": 1})).await;
    until(|| router.in_flight() == 2).await;
    assert!(
        post(&router, "/generate", "{}").await.starts_with("HTTP/1.1 429 "),
        "one waits, which is the most"
    );
    patch(&router, &json!({"max_concurrent_requests": null})).await;
    until(|| router.in_flight() == 3).await;
    patch(&router, &json!({"max_payload_size": 3})).await;
    assert!(post(&router, "/generate", "{\"a\":1}").await.starts_with("HTTP/1.1 413 "));
    for _ in 0..3 {
        gate.notify_one();
    }
    for answer in asked {
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn workers_of_the_options_join_leave_and_change() {
    let answer = |mut incoming: crate::support::Incoming| async move { incoming.send_json("{}").await };
    let (a, b, c) = (worker(answer).await, worker(answer).await, worker(answer).await);
    let router = router(options(&[a])).await;
    assert!(post(&router, "/workers", &format!("{{\"url\":\"http://{c}\"}}")).await.contains("202"));
    let urls = [format!("http://{a}"), format!("http://{b}")];
    patch(&router, &json!({"worker_urls": [urls[0]], "workers": [{"url": urls[1], "weight": 2.0}]})).await;
    until(|| router.healthy_workers() == 3).await;
    let weight = |of: &str| {
        let listed = router.workers()["workers"].as_array().unwrap().clone();
        listed
            .iter()
            .find(|w| w["url"] == of && w["state"] == "healthy")
            .map(|w| w["weight"].as_f64().unwrap())
    };
    assert_eq!(weight(&urls[1]), Some(2.0));
    patch(&router, &json!({"worker_urls": [], "workers": [{"url": urls[1], "weight": 3.0}]})).await;
    until(|| router.healthy_workers() == 2).await;
    assert_eq!((weight(&urls[0]), weight(&urls[1])), (None, Some(3.0)));
    assert_eq!(weight(&format!("http://{c}")), Some(1.0), "it was added by the API and stays");
    let other = json!({"workers": [{"url": urls[1], "weight": 3.0, "model_id": "m"}]}).to_string();
    assert_eq!(refused(&router, "/v1/config", &other).await["options"], json!(["workers"]));
}

#[tokio::test]
async fn file_that_is_read_again_changes_what_it_says_anew() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let start = options(&[address]);
    let router = router(start.clone()).await;
    router.patch_config(&json!({"queue_size": 7}), DryRun::No).unwrap();
    let mut sources = Sources::default();
    sources.set("policy", Source::File);
    let sourced = |options: Options| SourcedOptions { options, sources: sources.clone() };
    let file = Options { policy: "random".to_owned(), ..start.clone() };
    router.reload_config(sourced(file.clone())).unwrap();
    let value = |key: &str| router.config()["options"][key].clone();
    assert_eq!((&value("policy")["value"], &value("policy")["source"]), (&json!("random"), &json!("file")));
    assert_eq!(value("queue_size")["value"], 7, "the file says nothing new about it");
    let fixed = Options { port: 1, queue_size: 9, ..file.clone() };
    for _ in 0..2 {
        let error = router.reload_config(sourced(fixed.clone())).unwrap_err();
        assert!(matches!(&error, ChangeError::Fixed(fixed) if fixed[0].key == "port"), "{error}");
    }
    assert_eq!(value("queue_size")["value"], 7);
    router.reload_config(sourced(Options { queue_size: 9, ..file })).unwrap();
    assert_eq!(value("queue_size")["value"], 9);
}

#[tokio::test]
async fn loads_are_polled_while_a_policy_needs_them() {
    let polls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&polls);
    let address = crate::support::telling_worker(move |mut incoming| {
        let count = Arc::clone(&count);
        async move {
            count.fetch_add(u64::from(incoming.path().contains("load")), Relaxed);
            incoming.send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
        }
    })
    .await;
    let router = router(options(&[address])).await;
    assert_eq!(polls.load(Relaxed), 0);
    patch(&router, &json!({"policy": "shortest_queue"})).await;
    until(|| polls.load(Relaxed) > 0).await;
    let listed = get(&router, "/v1/config").await;
    assert_eq!(header(&listed, "content-type"), Some("application/json"));
}
