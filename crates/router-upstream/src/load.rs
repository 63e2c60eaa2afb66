//! The load of one candidate.

use crate::candidate::Candidate;
use crate::health::HealthState;
use router_core::{Balancer, Time};
use router_telemetry::WorkerGauges;
use std::sync::Arc;
use std::time::Duration;

/// A reported queue length older than this is ignored, in seconds.
const MAX_REPORT_AGE: f64 = 10.0;

/// The load of one candidate at one time.
#[derive(Clone, Debug)]
pub struct WorkerLoad {
    /// The candidate.
    pub worker: Arc<Candidate>,
    /// Requests in flight on it, from this router.
    pub in_flight: u32,
    /// The most requests that it may have in flight; `None` for no limit.
    pub cap: Option<u32>,
    /// Requests in its queue: the last report plus what was sent since; `None` without a recent report.
    pub waiting: Option<u32>,
    /// Whether it gets no requests while another candidate can take them, because of the load that it reports.
    pub is_overloaded: bool,
    /// Age of its last load report.
    pub report_age: Option<Duration>,
}

impl WorkerLoad {
    /// The load of `worker` at `now`; `None` after it has left.
    pub fn of(balancer: &Balancer, worker: &Arc<Candidate>, now: Time) -> Option<Self> {
        let view = balancer.view(worker.id)?;
        Some(Self {
            worker: Arc::clone(worker),
            in_flight: view.in_flight,
            cap: balancer.fleet().cap_of(worker.id),
            waiting: view.fresh_waiting(now, MAX_REPORT_AGE),
            is_overloaded: balancer.fleet().is_overloaded(worker.id, now),
            report_age: view.load.map(|l| now.since(l.at)),
        })
    }

    /// Its gauges for the metrics endpoint.
    pub fn gauges(&self) -> WorkerGauges {
        WorkerGauges {
            worker: Arc::clone(&self.worker.telemetry),
            info: self.worker.worker.info(),
            is_healthy: self.worker.health() == HealthState::Healthy,
            breaker: self.worker.worker.breaker_state(),
            in_flight: self.in_flight,
            waiting: self.waiting,
            is_overloaded: self.is_overloaded,
            report_age: self.report_age,
            has_outdated_weights: self.worker.worker.has_outdated_weights(),
        }
    }
}
