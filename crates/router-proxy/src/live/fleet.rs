//! The parts of a snapshot that are not about one worker.

use super::rows::rounded_time;
use super::window::EventRate;
use crate::scale_figures::figures;
use crate::state::AppState;
use router_core::Time;
use router_live::{DiscoveryState, ModelRow, PoolScale, QueueState, Refusals, RouterState, WaitingClass};
use router_upstream::WorkerPool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The router itself, but for what the sampler knows.
pub(super) fn router(state: &AppState) -> RouterState {
    let telemetry = &state.main.telemetry;
    RouterState {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: rounded_time(state.clock, Time::ZERO),
        is_ready: state.is_ready(),
        policy: telemetry.metrics.policy().to_string(),
        viewers: state.live.as_ref().map_or(0, |viewers| viewers.count() as u32),
        has_traces: telemetry.recorder.as_ref().is_some_and(|recorder| recorder.traces.is_some()),
        discovery: state.discovery_gauges().map(|told| DiscoveryState {
            is_current: told.is_current,
            heard_at: told.age.map(|age| {
                let running = state.clock.now().since(Time::ZERO);
                rounded_time(state.clock, Time::ZERO + running.saturating_sub(age))
            }),
        }),
        ..RouterState::default()
    }
}

/// Requests that wait, and those that were refused.
pub(super) fn queue(
    state: &AppState,
    pools: &[Arc<WorkerPool>],
    refusals: &mut BTreeMap<&'static str, EventRate>,
    now: Time,
    watched: Duration,
) -> QueueState {
    let mut waiting = Vec::new();
    let mut for_worker = 0;
    for pool in pools {
        let model = pool.model.name().map(|model| model.to_string());
        let classes =
            [("worker_capacity", pool.capacity.waiting()), ("worker_in_service", pool.unavailable.waiting())];
        // Only those that wait for room on a worker have a place in the router's queue.
        for_worker += classes[0].1;
        for (class, requests) in classes.into_iter().filter(|(_, requests)| *requests > 0) {
            let (class, model, requests) = (class.to_owned(), model.clone(), requests as u64);
            waiting.push(WaitingClass { class, model, requests });
        }
    }
    let admission = state.admission.waiting().saturating_sub(for_worker) as u64;
    if admission > 0 {
        waiting.insert(0, WaitingClass { class: "admission".to_owned(), model: None, requests: admission });
    }
    let (count, age) = state.admission.queue();
    let oldest = Time::ZERO + now.since(Time::ZERO).saturating_sub(age);
    QueueState {
        waiting,
        oldest_since: (count > 0).then(|| rounded_time(state.clock, oldest)),
        refusals: refusals
            .iter_mut()
            .map(|(reason, rate)| Refusals {
                reason: (*reason).to_owned(),
                per_sec: rate.per_sec(now, watched),
                count: rate.count,
            })
            .collect(),
    }
}

/// The figures from which each pool is scaled.
pub(super) fn scale(state: &AppState) -> Vec<PoolScale> {
    state.scale().iter().map(figures).collect()
}

/// The models, or the two kinds of pools of one.
pub(super) fn model(pool: &WorkerPool, in_flight: u64) -> ModelRow {
    ModelRow {
        model: pool.model.name().map(|model| model.to_string()),
        pool: pool.side.to_owned(),
        policy: pool.telemetry.metrics.policy().to_string(),
        workers: pool.candidates.all().len() as u32,
        healthy: pool.healthy() as u32,
        in_flight,
        waiting: (pool.capacity.waiting() + pool.unavailable.waiting()) as u64,
    }
}
