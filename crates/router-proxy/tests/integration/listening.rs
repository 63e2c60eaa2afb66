//! What a program that runs a router in its own process can see: figures, and decisions as they are made.

use crate::support::{PATIENCE, options, post, router, until};
use router_config::Options;
use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
use router_proxy::{DecisionStream, LiveDecision, NextDecision, RunningRouter};
use std::sync::Arc;
use std::time::Duration;

async fn fleet() -> EmulatedFleet {
    let spec: FleetSpec = "a100@20*2".parse().unwrap();
    EmulatedFleet::start(&spec, None, &EmulatorConfig::new(spec.parts[0].profile)).await.unwrap()
}

async fn over(fleet: &EmulatedFleet) -> RunningRouter {
    let shadow_policies = vec!["random".to_owned()];
    router(Options {
        worker_urls: fleet.urls(),
        policy: "least_request".to_owned(),
        shadow_policies,
        ..options(&[])
    })
    .await
}

async fn ask(router: &RunningRouter) {
    let body = r#"{"text":"a b c","sampling_params":{"max_new_tokens":4}}"#;
    assert!(post(router, "/generate", body).await.starts_with("HTTP/1.1 200 "));
}

fn heard(decisions: &DecisionStream) -> Arc<LiveDecision> {
    match decisions.next(PATIENCE) {
        NextDecision::Decision(decision) => decision,
        other => panic!("{other:?} instead of a decision"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decision_stream_is_bounded() {
    let fleet = fleet().await;
    let router = over(&fleet).await;
    ask(&router).await;
    let (wide, narrow) = (router.decisions(100), router.decisions(1));
    assert_eq!(wide.next(Duration::ZERO), NextDecision::Timeout, "what was before is not heard");
    for _ in 0..3 {
        ask(&router).await;
    }
    let first = heard(&wide);
    assert!(fleet.urls().iter().any(|url| **url == *first.worker_url));
    assert_eq!((&*first.policy, first.route, first.leg), ("least_request", "/generate", "whole"));
    assert_eq!((first.attempt, first.candidates, first.outstanding_requests), (0, 2, 0));
    assert!(!first.terms.is_empty(), "the score is told without a recorder");
    assert_eq!(&*first.shadow_choices[0].0, "random");
    assert_ne!(first.request_id, heard(&wide).request_id);
    assert_eq!(heard(&narrow).request_id, first.request_id);
    assert_eq!((narrow.dropped(), wide.dropped()), (2, 0));
    router.shutdown().await;
    heard(&wide);
    assert_eq!(wide.next(PATIENCE), NextDecision::Closed);
    assert_eq!(narrow.next(PATIENCE), NextDecision::Closed);
    fleet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_match_requests() {
    let fleet = fleet().await;
    let router = over(&fleet).await;
    let before = router.stats();
    assert_eq!((before.requests, before.in_flight, before.queued), (0, 0, 0));
    assert!(before.workers.iter().all(|w| w.mean_latency.is_none() && w.state == "healthy"));
    for _ in 0..4 {
        ask(&router).await;
    }
    until(|| router.in_flight() == 0).await;
    let after = router.stats();
    assert_eq!((after.policy.as_str(), after.requests, after.in_flight), ("least_request", 4, 0));
    assert_eq!(after.workers.iter().map(|w| w.requests).sum::<u64>(), 4);
    assert_eq!(after.workers.iter().map(|w| w.successes).sum::<u64>(), 4);
    for worker in &after.workers {
        assert_eq!(worker.mean_latency.is_some(), worker.successes > 0);
        assert_eq!((worker.worker_type, worker.breaker, worker.failures), ("regular", "closed", 0));
    }
    router.shutdown().await;
    fleet.shutdown().await;
}
