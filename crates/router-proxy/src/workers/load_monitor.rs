//! Asks workers for their load, for policies that need it. What cannot be learned stays unknown.

use super::{Worker, fetch};
use crate::router::Shared;
use http::uri::PathAndQuery;
use router_core::{Change, LoadSource};
use router_protocol::{LoadEndpoint, parse_load};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

/// The endpoints in the order of how much they tell.
const ENDPOINTS: [LoadEndpoint; 4] =
    [LoadEndpoint::V1Loads, LoadEndpoint::GetLoad, LoadEndpoint::Metrics, LoadEndpoint::VllmLoad];

/// A report that takes longer would be too old to route by.
const TIMEOUT: Duration = Duration::from_secs(2);

/// After no endpoint answered, so long until all are tried again: a worker may be restarted with another version.
const RETRY_ALL: Duration = Duration::from_secs(5);

/// Polls one worker until it is gone; one request at a time.
pub(crate) async fn poll(shared: Arc<Shared>, worker: Arc<Worker>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<LoadEndpoint> = None;
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = worker.gone.cancelled() => return,
        }
        if Instant::now() < not_before || !worker.health_is_good() {
            continue;
        }
        let tried = known.as_ref().map_or(&ENDPOINTS[..], std::slice::from_ref);
        match ask(&shared, &worker, tried).await {
            Some(endpoint) => known = Some(endpoint),
            None if known.take().is_none() => not_before = Instant::now() + RETRY_ALL,
            None => {}
        }
    }
}

/// Asks the endpoints in turn; the first one that told something.
async fn ask(shared: &Shared, worker: &Worker, endpoints: &[LoadEndpoint]) -> Option<LoadEndpoint> {
    for &endpoint in endpoints {
        let path = PathAndQuery::from_static(endpoint.path());
        // The report describes the worker no later than when the question was put, so that is its time:
        // requests sent meanwhile count as sent since.
        let asked_at = shared.clock.now();
        let answer = fetch(worker, &path, TIMEOUT).await;
        match answer {
            Ok((status, body)) if status.is_success() => match parse_load(endpoint, &body) {
                Ok(facts) => {
                    let report = facts.report(asked_at, LoadSource::Poll);
                    let now = shared.clock.now();
                    shared.balancer.lock().apply(now, Change::Load(worker.id, report));
                    return Some(endpoint);
                }
                Err(error) => {
                    debug!(worker = %worker.url, path = endpoint.path(), %error, "load report unreadable")
                }
            },
            Ok((status, _)) => {
                debug!(worker = %worker.url, path = endpoint.path(), %status, "no load report")
            }
            Err(error) => {
                debug!(worker = %worker.url, path = endpoint.path(), %error, "no load report");
                return None;
            }
        }
    }
    None
}

impl Worker {
    fn health_is_good(&self) -> bool {
        self.health() == super::Health::Healthy
    }
}
