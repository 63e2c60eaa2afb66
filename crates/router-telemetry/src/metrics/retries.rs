//! Metrics of retries, hedging and requests that wait for a worker.

use crate::prometheus::family::{DURATION_BUCKETS, counter};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

/// Metrics of retries, hedging and waiting.
#[derive(Clone, Debug)]
pub(crate) struct RetryMetrics {
    pub(crate) moves: Counter,
    pub(crate) hedges: Counter,
    pub(crate) hedge_wins: Counter,
    pub(crate) over_budget: Counter,
    pub(crate) backoff: Histogram,
    waiting: Gauge,
}

/// Counts one request as waiting until it is dropped.
#[derive(Debug)]
pub struct WaitingGuard(Gauge);

impl Drop for WaitingGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl RetryMetrics {
    pub(crate) fn new(r: &mut Registry) -> Self {
        let (backoff, waiting) = (Histogram::new(DURATION_BUCKETS), Gauge::default());
        r.register("retry_backoff_seconds", "Delays before retries, in seconds", backoff.clone());
        r.register(
            "waiting_for_worker",
            "Requests that wait because no worker is available",
            waiting.clone(),
        );
        let moves = "Requests moved from an unhealthy worker before their first byte";
        Self {
            moves: counter(r, "moves", moves),
            hedges: counter(r, "hedges", "Hedged attempts: second copies of slow requests"),
            hedge_wins: counter(r, "hedge_wins", "Hedged attempts that responded before the first"),
            over_budget: counter(
                r,
                "retry_budget_exhausted",
                "Retries not made because the retry budget was used up",
            ),
            backoff,
            waiting,
        }
    }

    pub(crate) fn waiting_for_worker(&self) -> WaitingGuard {
        self.waiting.inc();
        WaitingGuard(self.waiting.clone())
    }
}
