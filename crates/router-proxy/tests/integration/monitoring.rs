//! The dashboard and the alert rules name metrics that the router exports, and each alert has a page that explains it.

use crate::support::{get, metric, options, post, router, send, worker};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

/// A file of the repository.
fn file(path: &str) -> String {
    fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The metric names in a PromQL expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    expression.split(word).filter(|w| w.starts_with("sgl_router_") || w.starts_with("process_"))
}

/// The page of a router whose only worker fails, so that its breaker opens.
async fn page_after_breaker() -> String {
    let broken = worker(|mut incoming| async move {
        incoming.send("HTTP/1.1 500 Broken\r\ncontent-length: 2\r\n\r\n{}").await;
    });
    let router = router(Options { cb_failure_threshold: 1, ..options(&[broken.await]) }).await;
    assert!(post(&router, "/generate", r#"{"text":"a"}"#).await.starts_with("HTTP/1.1 500 "));
    get(&router, "/metrics").await
}

/// The names of all series that a router exports after some requests, a failed check and a breaker that opened.
async fn exported() -> BTreeSet<String> {
    let spec: FleetSpec = "a100@20*2".parse().unwrap();
    let fleet = EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap();
    let router = router(Options {
        worker_urls: fleet.urls(),
        policy: "cache_aware".to_owned(),
        // A policy that uses forecasts.
        shadow_policies: vec!["marginal_cost".to_owned()],
        max_payload_size: 1000,
        ..options(&[])
    })
    .await;
    for stream in [true, false] {
        let body =
            format!(r#"{{"text":"a b c","stream":{stream},"sampling_params":{{"max_new_tokens":4}}}}"#);
        assert!(post(&router, "/generate", &body).await.starts_with("HTTP/1.1 200 "));
    }
    assert!(post(&router, "/generate", &"x".repeat(1001)).await.starts_with("HTTP/1.1 413 "));
    // Nothing listens where a listener was dropped.
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let joined = send(&router, "POST", "/workers", &format!(r#"{{"url":"http://{closed}"}}"#)).await;
    assert!(joined.starts_with("HTTP/1.1 202 "), "{joined}");
    let checked = async {
        while metric(&router, "sgl_router_worker_check_failures_total").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), checked).await.expect("no check failed");
    let text = get(&router, "/metrics").await + &page_after_breaker().await;
    fleet.shutdown().await;
    let mut exported = BTreeSet::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        exported.extend(endings.iter().map(|ending| format!("{name}{ending}")));
    }
    exported
}

fn assert_exported(query: &str, exported: &BTreeSet<String>) {
    assert!(names(query).next().is_some(), "no metric of ours in {query}");
    for name in names(query) {
        assert!(exported.contains(name), "{name} in {query} is not exported");
    }
}

#[tokio::test]
async fn dashboard_queries_name_exported_metrics() {
    let exported = exported().await;
    let dashboard: serde_json::Value = serde_json::from_str(&file("dashboards/grafana.json")).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().filter_map(|p| p["targets"].as_array()).flatten();
    let queries: Vec<_> = targets.map(|t| t["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 30);
    for query in queries {
        assert_exported(query, &exported);
        // The terms of a score differ from policy to policy, so a panel of one fixed term is empty for all others.
        assert!(!query.contains("term=\""), "a fixed term in {query}");
        assert!(query.contains("$instance"), "the variable `instance` does not choose in {query}");
    }
}

#[tokio::test]
async fn alerts_name_exported_metrics_and_runbooks() {
    let exported = exported().await;
    let (rules, page) = (file("deploy/prometheus/alerts.yaml"), file("docs/troubleshooting.md"));
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let (name, rule) = alert.split_once('\n').unwrap();
        let (_, expression) = rule.split_once("expr: ").unwrap();
        let (expression, _) = expression.split_once("labels:").unwrap();
        assert_exported(expression, &exported);
        assert!(page.contains(&format!("\n### {name}\n")), "docs/troubleshooting.md has no section {name}");
        let runbook = format!("runbook_url: docs/troubleshooting.md#{}\n", name.to_lowercase());
        assert!(rule.contains(&runbook), "{name} has no {runbook}");
    }
    let (_, sections) = page.split_once("\n## Alerts\n").unwrap();
    assert_eq!(sections.matches("\n### ").count(), alerts.len(), "a section of an alert that is gone");
}
