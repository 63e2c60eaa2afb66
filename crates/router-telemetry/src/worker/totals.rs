//! What was counted of one or several workers, added up.

use super::metrics::{OUTCOMES, WorkerMetrics};
use crate::breaker_state::BreakerState;
use crate::failure_reason::FailureReason;
use crate::policy_names::PolicyNames;
use crate::prometheus::histogram::HistogramTotals;
use router_core::Route;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was counted of one or several workers, added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerTotals {
    /// By policy: prefill and decode workers have each their own.
    pub(crate) decisions: Vec<(Arc<str>, u64)>,
    pub(crate) processed: u64,
    pub(crate) outcomes: [u64; OUTCOMES.len()],
    pub(crate) breaker: [u64; BreakerState::ALL.len()],
    pub(crate) failures: [u64; FailureReason::ALL.len()],
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) prefill: LegTotals,
    pub(crate) decode: LegTotals,
    pub(crate) stream_errors: u64,
    pub(crate) times: [TimeTotals; Route::ALL.len()],
}

/// The counts of one leg of split requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LegTotals {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// The histograms of one route.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeTotals {
    pub(crate) ttft: HistogramTotals,
    pub(crate) tpot: HistogramTotals,
    pub(crate) e2e: HistogramTotals,
}

impl WorkerTotals {
    /// Adds what a worker has counted.
    pub(crate) fn add(&mut self, policies: &PolicyNames, metrics: &WorkerMetrics) {
        for (policy, decisions) in metrics.decisions() {
            self.add_decisions(&policies.name(policy), decisions);
        }
        add_all(&mut self.outcomes, &metrics.outcomes);
        self.processed = self.outcomes.iter().sum();
        add_all(&mut self.breaker, &metrics.breaker);
        add_all(&mut self.failures, &metrics.failures);
        for (total, counter) in [
            (&mut self.hits, &metrics.hits),
            (&mut self.misses, &metrics.misses),
            (&mut self.prompt_tokens, &metrics.prompt_tokens),
            (&mut self.cached_tokens, &metrics.cached_tokens),
            (&mut self.output_tokens, &metrics.output_tokens),
            (&mut self.prefill.requests, &metrics.prefill.requests),
            (&mut self.prefill.errors, &metrics.prefill.errors),
            (&mut self.decode.requests, &metrics.decode.requests),
            (&mut self.decode.errors, &metrics.decode.errors),
            (&mut self.stream_errors, &metrics.stream_errors),
        ] {
            *total += counter.load(Relaxed);
        }
        for (total, times) in self.times.iter_mut().zip(&metrics.times) {
            if let Some(times) = times.get() {
                total.ttft.add(&times.ttft);
                total.tpot.add(&times.tpot);
                total.e2e.add(&times.e2e);
            }
        }
    }

    fn add_decisions(&mut self, policy: &Arc<str>, decisions: u64) {
        match self.decisions.iter_mut().find(|(of, _)| of == policy) {
            Some((_, count)) => *count += decisions,
            None => self.decisions.push((Arc::clone(policy), decisions)),
        }
    }
}

fn add_all(totals: &mut [u64], counters: &[AtomicU64]) {
    for (total, counter) in totals.iter_mut().zip(counters) {
        *total += counter.load(Relaxed);
    }
}
