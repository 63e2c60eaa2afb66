//! What the log says of many workers at once.
//!
//! A program of its own: a line is lost where another test's thread, which has no log, meets it first.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "integration/support/mod.rs"]
mod support;

use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use std::num::NonZeroU32;
use support::{WrittenLog, options, router, until};

async fn fleet_of(workers: &str) -> EmulatedFleet {
    let spec: FleetSpec = format!("a100@20*{workers}").parse().unwrap();
    EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap()
}

fn options_of(fleet: &EmulatedFleet) -> Options {
    Options {
        worker_urls: fleet.urls(),
        health_check_interval_secs: 0.2,
        health_failure_threshold: NonZeroU32::MIN.get(),
        ..options(&[])
    }
}

#[tokio::test]
async fn many_workers_share_a_line() {
    let log = WrittenLog::default();
    let _guard = tracing::subscriber::set_default(log.subscriber(tracing::Level::INFO));
    let fleet = fleet_of("40").await;
    let router = router(options_of(&fleet)).await;
    until(|| log.text().contains("40 of 40 workers are healthy")).await;
    let text = log.text();
    for line in ["worker joined", "worker is healthy", "worker reported what it is"] {
        assert!(!text.contains(line), "{line} in {text}");
    }
    assert!(text.contains(" joined=40"), "{text}");
    assert!(text.lines().filter(|line| line.contains("workers are healthy")).count() <= 3, "{text}");

    fleet.shutdown().await;
    until(|| log.text().contains("more workers have problems than are named")).await;
    until(|| router.healthy_workers() == 0).await;
    let text = log.text();
    let named = text.lines().filter(|line| line.contains("worker is unhealthy")).count();
    assert!((10..40).contains(&named), "the first ten are named: {text}");
    assert!(text.contains("reasons=\"connection_refused"), "the others are counted by reason: {text}");
}

#[tokio::test]
async fn few_workers_have_lines_each() {
    let log = WrittenLog::default();
    let _guard = tracing::subscriber::set_default(log.subscriber(tracing::Level::INFO));
    let fleet = fleet_of("3").await;
    let router = router(options_of(&fleet)).await;
    let urls = fleet.urls();
    let has_each = |event: &str| {
        let text = log.text();
        let has =
            |url: &String| text.lines().any(|l| l.contains(event) && l.contains(&format!("worker={url}")));
        urls.iter().all(has)
    };
    until(|| router.healthy_workers() == urls.len()).await;
    fleet.shutdown().await;
    until(|| router.healthy_workers() == 0).await;
    // A line follows the change that it is about.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    for event in ["worker joined", "worker is healthy", "worker is unhealthy"] {
        assert!(has_each(event), "{event} of each of {urls:?} in {}", log.text());
    }
}
