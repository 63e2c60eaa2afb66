//! Asks workers for their load, for policies that need it. What cannot be learned stays unknown.

use crate::client::get;
use crate::health::HealthState;
use crate::pool::WorkerPool;
use crate::worker::Worker;
use http::uri::PathAndQuery;
use router_core::{FleetUpdate, LoadSource, Time};
use router_protocol::{LoadEndpoint, WorkerLoad, parse_load};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::debug;

/// A report that takes longer would be too old to route by.
const TIMEOUT: Duration = Duration::from_secs(2);

/// After no endpoint answered, so long until all are tried again: a worker may be restarted with another version.
const RETRY_ALL: Duration = Duration::from_secs(5);

/// Polls one worker until it is gone; one request at a time.
pub async fn poll(pool: Arc<WorkerPool>, worker: Arc<Worker>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known: Option<LoadEndpoint> = None;
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = worker.removed.cancelled() => return,
        }
        if Instant::now() < not_before || worker.health() != HealthState::Healthy {
            continue;
        }
        let tried = known.as_ref().map_or(&LoadEndpoint::ALL[..], std::slice::from_ref);
        match ask(&pool, &worker, tried).await {
            Some(endpoint) => known = Some(endpoint),
            None if known.take().is_none() => not_before = Instant::now() + RETRY_ALL,
            None => {}
        }
    }
}

/// Tells the balancer how much a worker has to do, each of its ranks for itself.
fn tell(pool: &WorkerPool, worker: &Arc<Worker>, load: &WorkerLoad, asked_at: Time) {
    let candidates = pool.candidates.of(worker);
    let mut balancer = pool.balancer.lock();
    for candidate in candidates {
        let report = match candidate.rank {
            None => Some(load.total.report(asked_at, LoadSource::Poll)),
            // One number for all ranks says nothing about any of them.
            Some(rank) => load.rank(rank).map(|figures| figures.report(asked_at, LoadSource::Poll)),
        };
        if let Some(report) = report {
            balancer.apply(pool.clock.now(), FleetUpdate::Load(candidate.id, report));
        }
    }
}

/// Asks the endpoints in turn; the first one that told something.
async fn ask(pool: &WorkerPool, worker: &Arc<Worker>, endpoints: &[LoadEndpoint]) -> Option<LoadEndpoint> {
    for &endpoint in endpoints {
        let path = PathAndQuery::from_static(endpoint.path());
        // The report describes the worker no later than when the question was put, so that is its time:
        // requests sent meanwhile count as sent since.
        let asked_at = pool.clock.now();
        let answer = get(worker, &path, TIMEOUT).await;
        match answer {
            Ok((status, body)) if status.is_success() => match parse_load(endpoint, &body) {
                Ok(load) => {
                    tell(pool, worker, &load, asked_at);
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
