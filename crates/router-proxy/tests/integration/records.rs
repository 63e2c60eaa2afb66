//! What is recorded is what happened: every decision, every end, joined, and nothing made up.

use crate::support::{get, options, post, router, worker};
use router_config::{Options, RecordFormat};
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use router_proxy::RunningRouter;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The columns that every reader of these files knows.
const FIXED: &str = "timestamp,worker_url,request_id,throughput_gradient,latency_gradient,score,outstanding_requests,\
    avg_throughput,avg_latency,window_size,selection_reason,actual_output_tokens,server_latency,queue_time,ttft,\
    decision_time_ms,";

type Row = BTreeMap<String, String>;

fn fresh_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("records-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

fn files(dir: &Path, part: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = all.filter(|p| p.file_name().unwrap().to_str().unwrap().contains(part)).collect();
    files.sort();
    files
}

/// The rows of a file without quoted fields.
fn read(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.starts_with(FIXED), "{text}");
    let mut lines = text.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let values: Vec<_> = line.split(',').collect();
            assert_eq!(values.len(), names.len(), "{line}");
            names.iter().zip(values).map(|(n, v)| ((*n).to_owned(), v.to_owned())).collect()
        })
        .collect()
}

fn generate(stream: bool, tokens: usize) -> String {
    format!(
        r#"{{"text":"some words to start with","stream":{stream},"sampling_params":{{"max_new_tokens":{tokens},"ignore_eos":true}}}}"#
    )
}

async fn fleet(spec: &str) -> EmulatedFleet {
    let spec: FleetSpec = spec.parse().unwrap();
    EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap()
}

fn recording(urls: Vec<String>, dir: &Path, policy: &str) -> Options {
    Options { worker_urls: urls, policy: policy.to_owned(), record_dir: Some(dir.to_owned()), ..options(&[]) }
}

/// Every row is about a real request, and every end has its decision.
fn check_joined(rows: &[Row]) {
    let key = |row: &Row| (row["request_id"].clone(), row["attempt"].clone());
    let of = |kind: &str| rows.iter().filter(|r| r["kind"] == kind).map(key).collect::<Vec<_>>();
    let (decisions, ends) = (of("decision"), of("completion"));
    assert_eq!(
        decisions.len(),
        decisions.iter().collect::<HashSet<_>>().len(),
        "a decision is recorded once"
    );
    let sorted = |mut keys: Vec<_>| {
        keys.sort();
        keys
    };
    assert_eq!(sorted(decisions), sorted(ends));
    for row in rows {
        assert!(!["", "pending", "unknown"].contains(&row["request_id"].as_str()), "{row:?}");
        assert!(row["worker_url"].starts_with("http://127.0.0.1:"), "{row:?}");
        let (gradients, reason) =
            (["throughput_gradient", "latency_gradient"], row["selection_reason"].as_str());
        for name in gradients {
            assert_eq!(row[name].is_empty(), reason != "gradient_based", "{reason}: {row:?}");
        }
        match row["kind"].as_str() {
            "decision" => assert!(!row["score"].is_empty() && !row["decision_time_ms"].is_empty(), "{row:?}"),
            _ => {
                assert_eq!(reason, "completion_record");
                assert!(row["score"].is_empty() && !row["outcome"].is_empty(), "{row:?}");
            }
        }
    }
    let seq: Vec<u64> = rows.iter().map(|r| r["seq"].parse().unwrap()).collect();
    let all: HashSet<_> = seq.iter().collect();
    assert_eq!((all.len(), seq.iter().max()), (seq.len(), Some(&(seq.len() as u64))), "no event is missing");
}

#[tokio::test]
async fn cold_start_and_gradients_are_recorded() {
    let (fleet, dir) = (fleet("sglang_1.5b@20*1,sglang_8b@20*1").await, fresh_dir());
    let router = router(recording(fleet.urls(), &dir, "marginal_utility")).await;
    for n in 0..60 {
        let answer = post(&router, "/generate", &generate(n % 3 == 0, 4 + n % 5)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    router.shutdown().await;
    let files = files(&dir, "marginal_utility_metrics_");
    let rows = read(&files[0]);
    assert_eq!((files.len(), rows.len()), (1, 120));
    check_joined(&rows);
    let reasons: HashSet<_> = rows.iter().map(|r| r["selection_reason"].as_str()).collect();
    assert!(reasons.is_superset(&["new_worker", "load_based", "gradient_based"].into()), "{reasons:?}");
    for row in rows.iter().filter(|r| r["kind"] == "completion") {
        assert_eq!(row["outcome"], "success");
        let tokens: u32 = row["actual_output_tokens"].parse().unwrap();
        assert!((4..9).contains(&tokens), "{row:?}");
        assert_eq!(row["ttft"].is_empty(), row["stream"] == "false", "{row:?}");
        assert!(!row["queue_time"].is_empty() && !row["queue_length"].is_empty(), "{row:?}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn errors_and_retries_have_own_rows() {
    let dir = fresh_dir();
    let bad = worker(|mut incoming| async move {
        if incoming.path() == "/generate" {
            incoming.send("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nboom").await;
        }
        // Anything else is cut without an answer.
    })
    .await;
    let good = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let urls = [bad, good].map(|a| format!("http://{a}")).to_vec();
    let router = router(recording(urls, &dir, "round_robin")).await;
    for path in ["/generate", "/generate", "/v1/completions", "/v1/completions"] {
        post(&router, path, r#"{"text":"a"}"#).await;
    }
    router.shutdown().await;
    let rows = read(&files(&dir, "round_robin_metrics_")[0]);
    let mut ends: Vec<_> = rows
        .iter()
        .filter(|r| r["kind"] == "completion")
        .map(|r| {
            (
                r["route"].as_str(),
                r["attempt"].as_str(),
                r["outcome"].as_str(),
                r["status"].as_str(),
                r["error"].as_str(),
            )
        })
        .collect();
    ends.sort_unstable();
    assert_eq!(
        ends,
        [
            ("/generate", "0", "failed", "500", ""),
            ("/generate", "0", "failed", "500", ""),
            ("/generate", "1", "success", "200", ""),
            ("/generate", "1", "success", "200", ""),
            ("/v1/completions", "0", "failed", "", "worker_disconnected"),
            ("/v1/completions", "0", "failed", "", "worker_disconnected"),
            ("/v1/completions", "1", "success", "200", ""),
            ("/v1/completions", "1", "success", "200", ""),
        ]
    );
}

#[tokio::test]
async fn candidates_and_shadows_in_both_formats() {
    let (fleet, dir) = (fleet("a100@20*3").await, fresh_dir());
    let router = router(Options {
        shadow_policies: vec!["shortest_queue".to_owned()],
        record_candidates: true,
        record_format: RecordFormat::Jsonl,
        ..recording(fleet.urls(), &dir, "marginal_utility")
    })
    .await;
    for _ in 0..5 {
        post(&router, "/generate", &generate(false, 3)).await;
    }
    router.shutdown().await;
    let read = |part| -> Vec<Value> {
        let text = std::fs::read_to_string(&files(&dir, part)[0]).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    };
    let rows = read("marginal_utility_metrics_");
    assert_eq!(rows.len(), 10);
    let decisions: Vec<_> = rows.iter().filter(|r| r["kind"] == "decision").collect();
    assert!(
        decisions.iter().all(|r| r["shadow_choices"].as_str().unwrap().starts_with("shortest_queue=http://"))
    );
    let file = files(&dir, "marginal_utility_metrics_").remove(0);
    let run = router_report::read_run(&file);
    assert_eq!(run.problems, [], "JSON lines are read as they were written");
    assert_eq!(run.run.map(|run| (run.decisions.len(), run.requests.len())), Some((5, 5)));
    let candidates = read("marginal_utility_candidates_");
    // The shadow compares queues only once a worker has told one.
    for (role, least) in [("live", 15), ("shadow", 1)] {
        let of_role: Vec<_> = candidates.iter().filter(|c| c["role"] == role).collect();
        assert!(of_role.len() >= least, "{role}: {} rows for 5 decisions among 3 workers", of_role.len());
        assert!(of_role.iter().all(|c| c["cost"].is_number() && c["terms"].is_object()));
    }
    let chosen = candidates.iter().filter(|c| c["role"] == "live" && c["chosen"] == true).count();
    assert_eq!(chosen, 5);
    fleet.shutdown().await;
}

/// Sends a request that states the length of its output.
async fn send_stating(router: &RunningRouter, tokens: &str, body: &str) {
    let mut client = crate::support::RawClient::connect(router).await;
    let length = body.len();
    client.send(format!("POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\nx-request-id: says {tokens}\r\nx-expected-output-tokens: {tokens}\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn what_was_foreseen_is_recorded_beside_what_came() {
    let (fleet, dir) = (fleet("a100@20*2").await, fresh_dir());
    let options = recording(fleet.urls(), &dir, "marginal_cost");
    let router = router(Options { enable_tracking: true, ..options }).await;
    let long = format!(
        r#"{{"text":"{}","sampling_params":{{"max_new_tokens":9,"ignore_eos":true}}}}"#,
        "a word ".repeat(400)
    );
    for _ in 0..10 {
        post(&router, "/generate", &long).await;
    }
    send_stating(&router, "9", &long).await;
    send_stating(&router, "nine", &long).await;
    let (_, trace) = traces(&router, "/v1/traces/says%209").await;
    let metrics = get(&router, "/metrics").await;
    router.shutdown().await;
    let end = &trace["attempts"][0]["end"];
    assert_eq!(
        (end["forecast_class"].as_str(), end["forecast_output_tokens"].as_f64()),
        (Some("stated"), Some(9.0))
    );
    let file = files(&dir, "marginal_cost_metrics_").remove(0);
    let rows = read(&file);
    let ends: Vec<_> = rows.iter().filter(|r| r["kind"] == "completion").collect();
    let number =
        |row: &Row, name: &str| row[name].parse::<f64>().unwrap_or_else(|_| panic!("{name}: {row:?}"));
    for row in &ends {
        assert!((0.0..=1.0).contains(&number(row, "forecast_rank")), "{row:?}");
        assert!(number(row, "forecast_output_tokens") <= 9.0, "max_tokens caps: {row:?}");
        assert!(number(row, "predicted_cached_tokens") <= number(row, "prompt_tokens") + 300.0, "{row:?}");
    }
    let classes: Vec<_> = ends.iter().rev().take(2).map(|row| row["forecast_class"].as_str()).collect();
    assert!(classes[0] != "stated" && classes[1] == "stated", "{classes:?}");
    assert_eq!(number(ends[0], "predicted_cached_tokens"), 0.0, "nothing was sent before");
    assert!(number(ends[11], "predicted_cached_tokens") > 300.0, "{:?}", ends[11]);
    assert!(metrics.contains("sgl_router_output_forecast_rank_count{class=\"stated\"} 1"), "{metrics}");
    assert!(metrics.contains("sgl_router_output_forecast_error_count{class=\"stated\"} 1"), "{metrics}");
    let sum = |name: &str| ends.iter().map(|row| row[name].parse::<u64>().unwrap()).sum::<u64>();
    for (metric, column) in [("predicted", "predicted_cached_tokens"), ("reported", "cached_tokens")] {
        let line = format!("\nsgl_router_cache_{metric}_tokens_total {}\n", sum(column));
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    let run = router_report::read_run(&file).run.unwrap();
    assert_eq!(run.requests.iter().filter(|r| r.forecast.is_some() && r.cached_tokens.is_some()).count(), 12);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_directory_that_vanishes_harms_no_request() {
    let dir = fresh_dir();
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(recording(vec![format!("http://{address}")], &dir, "random")).await;
    std::fs::remove_dir_all(&dir).unwrap();
    // Where the directory was, there is now a file: nothing can be made in it.
    std::fs::write(&dir, "in the way").unwrap();
    for _ in 0..600 {
        assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 200 "));
    }
    let lost = async {
        while crate::support::metric(&router, "sgl_router_records_lost_total").await[0].1 == 0.0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, lost).await.expect("the loss is not counted");
    router.shutdown().await;
    std::fs::remove_file(&dir).unwrap();
}

#[tokio::test]
async fn full_file_is_rotated() {
    let dir = fresh_dir();
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let options =
        Options { record_max_file_mb: 1, ..recording(vec![format!("http://{address}")], &dir, "random") };
    let router = router(options).await;
    let mut client = crate::support::RawClient::connect(&router).await;
    // A long id makes long rows: 2000 decisions and ends of half a kilobyte are more than a file holds.
    for n in 0..2500 {
        let id = format!("{n}-{}", "x".repeat(240));
        let head = format!(
            "POST /generate HTTP/1.1\r\nhost: r\r\nx-request-id: {id}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        client.send(head).await;
        client.see("\r\n\r\n{}").await;
        client.seen.clear();
    }
    router.shutdown().await;
    let files = files(&dir, "random_metrics_");
    assert!(files.len() >= 2, "{files:?}");
    let rows: usize = files.iter().map(|f| read(f).len()).sum();
    assert_eq!(rows, 5000, "every row is in one of the files");
}

async fn traces(router: &RunningRouter, path: &str) -> (String, Value) {
    let answer = get(router, path).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap()[9..12].to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn traces_tell_the_whole_decision() {
    let fleet = fleet("a100@20*2").await;
    let options = Options {
        worker_urls: fleet.urls(),
        policy: "marginal_utility".to_owned(),
        shadow_policies: vec!["round_robin".to_owned()],
        enable_tracking: true,
        max_trace_entries: 30,
        ..options(&[])
    };
    let router = router(options).await;
    for n in 0..40 {
        let mut client = crate::support::RawClient::connect(&router).await;
        let body = generate(n % 2 == 0, 3);
        client.send(format!("POST /generate HTTP/1.1\r\nhost: r\r\nconnection: close\r\nx-request-id: id {n}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        client.rest().await;
    }
    let (status, all) = traces(&router, "/v1/traces").await;
    assert_eq!((status.as_str(), all["count"].as_u64()), ("200", Some(30)), "the bound holds");
    assert_eq!(all["traces"][0]["request_id"], "id 39", "newest first");
    let (_, one) = traces(&router, "/v1/traces/id%2039").await;
    let decision = &one["attempts"][0]["decision"];
    assert_eq!(
        (one["status"].as_str(), one["routing_policy"].as_str()),
        (Some("completed"), Some("marginal_utility"))
    );
    assert_eq!(decision["candidates"].as_array().unwrap().len(), 2);
    assert!(decision["candidates"][0]["terms"]["throughput_gradient"].is_number(), "{decision}");
    assert_eq!(decision["shadows"][0]["policy"], "round_robin");
    assert_eq!(
        (one["output_tokens"].as_u64(), one["attempts"][0]["end"]["outcome"].as_str()),
        (Some(3), Some("success"))
    );
    let url = one["worker_url"].as_str().unwrap();
    let (_, some) = traces(&router, &format!("/v1/traces?limit=5&status=completed&node_id={url}")).await;
    assert!(some["traces"].as_array().unwrap().iter().all(|t| t["worker_url"] == url) && some["count"] == 5);
    let (_, none) = traces(&router, "/v1/traces?status=failed").await;
    assert_eq!(none["count"], 0);
    let (_, stats) = traces(&router, "/v1/traces/stats").await;
    assert_eq!(
        (stats["total_traces"].as_u64(), stats["status_distribution"]["completed"].as_u64()),
        (Some(30), Some(30))
    );
    for (path, expected) in [
        ("/v1/traces/none", "404"),
        ("/v1/traces?limit=0", "400"),
        ("/v1/traces?limit=1001", "400"),
        ("/v1/traces?status=lost", "400"),
        ("/v1/traces?page=2", "400"),
    ] {
        assert_eq!(traces(&router, path).await.0, expected, "{path}");
    }
    let batch = post(&router, "/v1/traces/batch", r#"{"request_ids":["id 39","id 0"]}"#).await;
    assert!(batch.contains(r#""not_found":["id 0"]"#) && batch.contains(r#""count":1"#), "{batch}");
    assert!(post(&router, "/v1/traces/batch", "[]").await.starts_with("HTTP/1.1 400 "));
    fleet.shutdown().await;
}

#[tokio::test]
async fn without_tracking_traces_are_501() {
    let address = worker(|mut incoming| async move { incoming.send_json("{}").await }).await;
    let router = router(options(&[address])).await;
    let (status, body) = traces(&router, "/v1/traces").await;
    assert_eq!((status.as_str(), body["error"]["code"].as_str()), ("501", Some("tracking_disabled")));
}
