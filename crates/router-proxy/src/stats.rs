//! A snapshot of a router's statistics, for a program that embeds it.

use router_telemetry::Metrics;
use router_upstream::WorkerLoad;

/// A snapshot of a router's statistics. Counts are since its start; a value that is unknown is `None`.
#[derive(Clone, PartialEq, Debug)]
pub struct RouterStats {
    /// The live policy's name.
    pub policy: String,
    /// Requests that got a response, from a worker or from the router itself.
    pub requests: u64,
    /// Requests in flight on all workers; one that is split counts once for each of its legs.
    pub in_flight: u64,
    /// Requests in the router's admission queues.
    pub queued: u64,
    /// All workers, in the order in which they joined.
    pub workers: Vec<WorkerStats>,
}

/// A snapshot of one worker's statistics.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerStats {
    /// Its base URL.
    pub url: String,
    /// Its type: `regular`, `prefill` or `decode`.
    pub worker_type: &'static str,
    /// Its health: `pending`, `healthy`, `unhealthy`, `draining` or `gone`.
    pub state: &'static str,
    /// Its circuit breaker: `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Requests in flight on it, from this router.
    pub in_flight: u64,
    /// Requests that wait on it, by its last report and what was sent since.
    pub queue_length: Option<u64>,
    /// Requests that were sent to it.
    pub requests: u64,
    /// Responses that arrived complete.
    pub successes: u64,
    /// Attempts that the worker failed.
    pub failures: u64,
    /// Mean time from a request's arrival at the router to the last byte of its response, in seconds, over complete
    /// responses.
    pub mean_latency: Option<f64>,
    /// Why its health checks or connections fail; `None` while they succeed.
    pub last_error: Option<String>,
}

impl RouterStats {
    /// What `metrics` have counted, with `queued` requests in the router's queue and the present `loads` of workers.
    pub(crate) fn new(metrics: &Metrics, queued: u64, loads: &[WorkerLoad]) -> Self {
        let workers = loads.iter().map(|load| {
            let (candidate, worker) = (&load.worker, &load.worker.worker);
            let counts = candidate.telemetry.metrics.counts();
            WorkerStats {
                url: worker.url.as_str().to_owned(),
                worker_type: worker.profile.load().kind.as_str(),
                state: candidate.health().as_str(),
                breaker: worker.breaker_state().as_str(),
                in_flight: load.in_flight.into(),
                queue_length: load.waiting.map(Into::into),
                requests: counts.decisions,
                successes: counts.successes,
                failures: counts.failures,
                mean_latency: counts.mean_latency,
                last_error: worker.problem().map(|problem| problem.failure.message),
            }
        });
        Self {
            policy: metrics.policy().to_string(),
            requests: metrics.requests(),
            in_flight: loads.iter().map(|load| u64::from(load.in_flight)).sum(),
            queued,
            workers: workers.collect(),
        }
    }
}
