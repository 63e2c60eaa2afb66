//! One candidate of the balancer: a worker, or one data-parallel rank of it.

use crate::health::HealthState;
use crate::worker::Worker;
use http::HeaderValue;
use http::header::InvalidHeaderValue;
use router_config::WorkerUrl;
use router_core::WorkerId;
use router_telemetry::{WorkerMetrics, WorkerTelemetry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// One candidate of the balancer: a worker, or one data-parallel rank of it.
#[derive(Debug)]
pub struct Candidate {
    /// Its id in the balancer.
    pub id: WorkerId,
    /// Its data-parallel rank; `None` when the worker is a single candidate.
    pub rank: Option<u32>,
    /// Its names and metrics.
    pub telemetry: Arc<WorkerTelemetry>,
    /// The name as the value of `x-sglang-worker`.
    pub header: HeaderValue,
    /// End of its cool-down after a 429 or 503, in nanoseconds of the router's clock.
    pub(crate) busy_until: AtomicU64,
    /// Set when its worker no longer has this rank: it is removed when its requests in flight have ended.
    pub(crate) removing: AtomicBool,
    /// The server behind it.
    pub worker: Arc<Worker>,
}

impl Candidate {
    /// The candidate `id` of a worker, under `name`.
    pub(crate) fn new(
        id: WorkerId,
        worker: Arc<Worker>,
        name: CandidateName,
        metrics: Arc<WorkerMetrics>,
    ) -> Self {
        let CandidateName { rank, name, header } = name;
        let (busy_until, removing) = (AtomicU64::new(0), AtomicBool::new(false));
        let telemetry = Arc::new(WorkerTelemetry { id, url: worker.url.shared(), name, metrics });
        Self { id, rank, telemetry, header, busy_until, removing, worker }
    }

    /// Its health state now.
    pub fn health(&self) -> HealthState {
        if self.is_removing() { HealthState::Draining } else { self.worker.health() }
    }

    /// A request is sent to it: from now on its load is of interest.
    pub fn request_sent(&self) {
        self.worker.load_polls.request_sent();
    }

    /// Whether it is being removed while its worker stays.
    pub(crate) fn is_removing(&self) -> bool {
        self.removing.load(Relaxed)
    }
}

/// The names of a candidate.
#[derive(Clone, Debug)]
pub(crate) struct CandidateName {
    rank: Option<u32>,
    pub(crate) name: Arc<str>,
    header: HeaderValue,
}

impl CandidateName {
    /// The name of the worker at `url`, or of one rank of it.
    pub(crate) fn of(url: &WorkerUrl, rank: Option<u32>) -> Result<Self, InvalidHeaderValue> {
        let name = rank.map_or_else(|| url.shared(), |rank| format!("{url}@{rank}").into());
        Ok(Self { rank, header: HeaderValue::from_str(&name)?, name })
    }
}
