//! Polls the load of workers, for policies that need it and for bounds of overload that are set. Without a report the load stays
//! unknown.

use crate::client::get;
use crate::health::HealthState;
use crate::pool::WorkerPool;
use crate::shared_timer::sleep_together;
use crate::worker::Worker;
use http::uri::PathAndQuery;
use router_core::{FleetUpdate, LoadSource, Time};
use router_protocol::{LoadEndpoint, WorkerLoad, parse_load};
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// A slower report would be too old to route by.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Pause after no endpoint had a report: a worker may be restarted with another version.
const RETRY_ALL: Duration = Duration::from_secs(5);

/// Polls one worker until it is removed, while policies or bounds need its load; one request at a time, and rarely while the worker
/// is idle.
pub(crate) async fn poll_load(pool: Arc<WorkerPool>, worker: Arc<Worker>, interval: Duration) {
    let mut current: Option<LoadEndpoint> = None;
    let mut idle_reports = 0;
    let mut pause = Duration::ZERO;
    loop {
        if !pool.needs.polls() {
            tokio::select! {
                () = pool.needs.polls_wanted() => pause = Duration::ZERO,
                () = worker.removed.cancelled() => return,
            }
        }
        tokio::select! {
            () = sleep_together(pool.started_at, pause) => {}
            () = worker.load_polls.woken() => idle_reports = 0,
            () = worker.removed.cancelled() => return,
        }
        pause = interval;
        if worker.health() != HealthState::Healthy {
            continue;
        }
        let endpoints = current.as_ref().map_or(&LoadEndpoint::ALL[..], std::slice::from_ref);
        match request_load(&pool, &worker, endpoints).await {
            Some((endpoint, state)) => {
                current = Some(endpoint);
                idle_reports = if state == ReportedState::Idle { idle_reports + 1 } else { 0 };
                pause = worker.load_polls.pause(interval, idle_reports);
                // A request that was sent before the pause was announced did not end it.
                if pause > interval && pool.has_requests(&worker) {
                    pause = interval;
                }
            }
            None if current.take().is_none() => pause = RETRY_ALL.max(interval),
            None => {}
        }
    }
}

/// What a report says about the worker as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReportedState {
    /// It has no requests, from this router or from others.
    Idle,
    /// It has some, or does not say.
    Busy,
}

/// Passes the load of a worker to the balancer, separately for each rank.
fn publish_load(
    pool: &WorkerPool,
    worker: &Arc<Worker>,
    load: &WorkerLoad,
    requested_at: Time,
) -> ReportedState {
    let candidates = pool.candidates.of(worker);
    let total = load.total.report(requested_at, LoadSource::Poll);
    let is_idle = total.running == Some(0) && total.waiting.is_none_or(|waiting| waiting == 0);
    let mut balancer = pool.balancer.lock();
    for candidate in candidates {
        let report = match candidate.rank {
            None => Some(load.total.report(requested_at, LoadSource::Poll)),
            // A total over all ranks says nothing about one of them.
            Some(rank) => load.rank(rank).map(|figures| figures.report(requested_at, LoadSource::Poll)),
        };
        if let Some(report) = report {
            balancer.apply(pool.clock.now(), FleetUpdate::Load(candidate.id, report));
        }
    }
    if is_idle { ReportedState::Idle } else { ReportedState::Busy }
}

/// Tries the endpoints in turn; returns the first with a report, and what that says.
async fn request_load(
    pool: &WorkerPool,
    worker: &Arc<Worker>,
    endpoints: &[LoadEndpoint],
) -> Option<(LoadEndpoint, ReportedState)> {
    for &endpoint in endpoints {
        let path = PathAndQuery::from_static(endpoint.path());
        // The report is dated with the time of the request, so that requests sent meanwhile count as not yet reported.
        let requested_at = pool.clock.now();
        let response = get(worker, &path, TIMEOUT).await;
        match response {
            Ok((status, body)) if status.is_success() => match parse_load(endpoint, &body) {
                Ok(load) => {
                    return Some((endpoint, publish_load(pool, worker, &load, requested_at)));
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
