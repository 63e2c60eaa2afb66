//! What is counted when requests do not go the straight way.

use super::family::{DURATION_BUCKETS, counter};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::Registry;

/// Moves, second copies, waits.
#[derive(Clone, Debug)]
pub(crate) struct RetryMetrics {
    pub(crate) moves: Counter,
    pub(crate) hedges: Counter,
    pub(crate) hedge_wins: Counter,
    pub(crate) over_budget: Counter,
    pub(crate) backoff: Histogram,
    waiting: Gauge,
}

/// Counts as one waiting request until it is dropped.
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
        r.register("retry_backoff_seconds", "Waits before retries", backoff.clone());
        r.register("waiting_for_worker", "Requests held because no worker is available", waiting.clone());
        let moves = "Requests taken from a worker in trouble before their first byte";
        Self {
            moves: counter(r, "moves", moves),
            hedges: counter(r, "hedges", "Second copies of slow requests"),
            hedge_wins: counter(r, "hedge_wins", "Second copies that were faster than the first"),
            over_budget: counter(r, "retry_budget_exhausted", "Retries forgone because there were too many"),
            backoff,
            waiting,
        }
    }

    pub(crate) fn waiting_for_worker(&self) -> WaitingGuard {
        self.waiting.inc();
        WaitingGuard(self.waiting.clone())
    }
}
