//! Metrics of each worker.

use crate::attempt_info::AttemptInfo;
use crate::breaker_state::BreakerState;
use crate::failure_reason::FailureReason;
use crate::prometheus::family::{Buckets, Histograms, family, histograms};
use crate::prometheus::labels::{
    BreakerLabels, FailureLabels, OutcomeLabels, PolicyWorkerLabels, RouteWorkerLabels, WorkerLabel,
};
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use prometheus_client::registry::Registry;
use router_core::{Completion, Outcome, Route};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds in seconds for the time between two tokens: 1 ms to 2.5 s.
const TOKEN_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 1.0, 2.5];

const OUTCOMES: [Outcome; 5] =
    [Outcome::Success, Outcome::Rejected, Outcome::Busy, Outcome::Failed, Outcome::Cancelled];

/// The metrics that have a worker as label.
#[derive(Clone, Debug)]
pub(crate) struct WorkerFamilies {
    processed: Family<WorkerLabel, Counter>,
    decisions: Family<PolicyWorkerLabels, Counter>,
    outcomes: Family<OutcomeLabels, Counter>,
    breaker: Family<BreakerLabels, Counter>,
    failures: Family<FailureLabels, Counter>,
    hits: Family<WorkerLabel, Counter>,
    misses: Family<WorkerLabel, Counter>,
    prompt_tokens: Family<WorkerLabel, Counter>,
    cached_tokens: Family<WorkerLabel, Counter>,
    output_tokens: Family<WorkerLabel, Counter>,
    times: TimeFamilies,
}

#[derive(Clone, Debug)]
struct TimeFamilies {
    ttft: Histograms<RouteWorkerLabels>,
    tpot: Histograms<RouteWorkerLabels>,
    e2e: Histograms<RouteWorkerLabels>,
}

/// The metrics of one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    processed: Counter,
    decisions: Counter,
    outcomes: [Counter; OUTCOMES.len()],
    breaker: [Counter; BreakerState::ALL.len()],
    failures: Family<FailureLabels, Counter>,
    hits: Counter,
    misses: Counter,
    prompt_tokens: Counter,
    cached_tokens: Counter,
    output_tokens: Counter,
    /// By route, created when the route is first used.
    times: [OnceLock<TimeHistograms>; Route::ALL.len()],
    /// The sum of all observations of `e2e` on all routes, in nanoseconds; a histogram does not expose its sum.
    total_nanos: AtomicU64,
    families: TimeFamilies,
    url: Arc<str>,
}

/// A worker's counts at one moment.
#[derive(Clone, Copy, Debug)]
pub struct WorkerCounts {
    /// Decisions for this worker.
    pub decisions: u64,
    /// Attempts that succeeded.
    pub successes: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Mean time from request received to last byte, in seconds.
    pub mean_latency: Option<f64>,
}

/// The histograms of one route on one worker.
#[derive(Debug)]
struct TimeHistograms {
    ttft: Histogram,
    tpot: Histogram,
    e2e: Histogram,
}

impl WorkerFamilies {
    pub(crate) fn new(r: &mut Registry, durations: &Buckets) -> Self {
        Self {
            processed: family(r, "processed_requests", "Attempts that ended, by worker"),
            decisions: family(r, "policy_decisions", "Decisions by policy and chosen worker"),
            outcomes: family(r, "worker_outcomes", "Attempts that ended, by worker and outcome"),
            breaker: family(
                r,
                "worker_cb_transitions",
                "State changes of a worker's circuit breaker, by new state",
            ),
            failures: family(
                r,
                "worker_check_failures",
                "Failed health checks of a worker and connections that requests could not make, by reason",
            ),
            hits: family(r, "cache_hits", "Responses whose prompt was at least partly in the worker's cache"),
            misses: family(r, "cache_misses", "Responses whose prompt was not in the worker's cache"),
            prompt_tokens: family(r, "prompt_tokens", "Prompt tokens, as workers reported them"),
            cached_tokens: family(
                r,
                "cached_tokens",
                "Prompt tokens found in a cache, as workers reported them",
            ),
            output_tokens: family(r, "output_tokens", "Generated tokens, reported or counted from events"),
            times: TimeFamilies {
                ttft: histograms(
                    r,
                    "ttft_seconds",
                    "From request sent to first byte; streams only",
                    durations,
                ),
                tpot: histograms(
                    r,
                    "tpot_seconds",
                    "Time per token after the first; streams only",
                    &Buckets::new(&TOKEN_BUCKETS),
                ),
                e2e: histograms(
                    r,
                    "e2e_seconds",
                    "From request received to last byte, by route and worker",
                    durations,
                ),
            },
        }
    }

    pub(crate) fn handles(&self, policy: &Arc<str>, url: &Arc<str>) -> WorkerMetrics {
        let label = WorkerLabel { worker: Arc::clone(url) };
        let decision = PolicyWorkerLabels { policy: Arc::clone(policy), worker: Arc::clone(url) };
        WorkerMetrics {
            processed: self.processed.get_or_create_owned(&label),
            decisions: self.decisions.get_or_create_owned(&decision),
            outcomes: OUTCOMES.map(|outcome| {
                let label = OutcomeLabels { worker: Arc::clone(url), outcome: outcome.as_str() };
                self.outcomes.get_or_create_owned(&label)
            }),
            breaker: BreakerState::ALL.map(|state| {
                let label = BreakerLabels { worker: Arc::clone(url), to: state.as_str() };
                self.breaker.get_or_create_owned(&label)
            }),
            failures: self.failures.clone(),
            hits: self.hits.get_or_create_owned(&label),
            misses: self.misses.get_or_create_owned(&label),
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&label),
            cached_tokens: self.cached_tokens.get_or_create_owned(&label),
            output_tokens: self.output_tokens.get_or_create_owned(&label),
            times: Default::default(),
            total_nanos: AtomicU64::new(0),
            families: self.times.clone(),
            url: Arc::clone(url),
        }
    }

    /// Removes the series of a worker.
    pub(crate) fn remove_worker(&self, policy: &Arc<str>, url: &Arc<str>) {
        let label = WorkerLabel { worker: Arc::clone(url) };
        for family in [
            &self.processed,
            &self.hits,
            &self.misses,
            &self.prompt_tokens,
            &self.cached_tokens,
            &self.output_tokens,
        ] {
            family.remove(&label);
        }
        self.decisions.remove(&PolicyWorkerLabels { policy: Arc::clone(policy), worker: Arc::clone(url) });
        for outcome in OUTCOMES {
            self.outcomes.remove(&OutcomeLabels { worker: Arc::clone(url), outcome: outcome.as_str() });
        }
        for state in BreakerState::ALL {
            self.breaker.remove(&BreakerLabels { worker: Arc::clone(url), to: state.as_str() });
        }
        for reason in FailureReason::ALL {
            self.failures.remove(&FailureLabels { worker: Arc::clone(url), reason: reason.as_str() });
        }
        for route in Route::ALL {
            let label = RouteWorkerLabels { route: route.as_str(), worker: Arc::clone(url) };
            for family in [&self.times.ttft, &self.times.tpot, &self.times.e2e] {
                family.remove(&label);
            }
        }
    }
}

impl WorkerMetrics {
    pub(crate) fn decided(&self) {
        self.decisions.inc();
    }

    pub(crate) fn completed(&self, info: &AttemptInfo, completion: &Completion) {
        self.processed.inc();
        let result = &completion.result;
        if let Some(at) = OUTCOMES.iter().position(|o| *o == result.outcome) {
            self.outcomes[at].inc();
        }
        if result.outcome != Outcome::Success {
            return;
        }
        let usage = &result.usage;
        if let Some(cached) = usage.cached_tokens {
            if cached > 0 {
                self.hits.inc()
            } else {
                self.misses.inc()
            };
            self.cached_tokens.inc_by(cached.into());
        }
        self.prompt_tokens.inc_by(usage.prompt_tokens.unwrap_or(0).into());
        self.output_tokens.inc_by(usage.output_tokens.unwrap_or(0).into());
        let times = self.times(info.route);
        let took = info.total_latency(completion);
        times.e2e.observe(took.as_secs_f64());
        self.total_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if let Some(ttft) = info.time_to_first_byte(completion, completion.dispatched_at) {
            times.ttft.observe(ttft.as_secs_f64());
            if let Some(rest) = usage.output_tokens.map(|n| n.saturating_sub(1)).filter(|n| *n > 0) {
                let generation = completion.finished_at.since(completion.dispatched_at).saturating_sub(ttft);
                times.tpot.observe(generation.as_secs_f64() / f64::from(rest));
            }
        }
    }

    /// The counts so far.
    pub fn counts(&self) -> WorkerCounts {
        let of =
            |outcome| OUTCOMES.iter().position(|o| *o == outcome).map_or(0, |at| self.outcomes[at].get());
        let successes = of(Outcome::Success);
        let seconds = Duration::from_nanos(self.total_nanos.load(Relaxed)).as_secs_f64();
        WorkerCounts {
            decisions: self.decisions.get(),
            successes,
            failures: of(Outcome::Failed),
            mean_latency: (successes > 0).then(|| seconds / successes as f64),
        }
    }

    /// Counts a change of the worker's circuit breaker to this state.
    pub fn breaker_changed(&self, state: BreakerState) {
        self.breaker[usize::from(state.number())].inc();
    }

    /// Counts a failed health check, or a connection that a request could not make.
    pub fn check_failed(&self, reason: FailureReason) {
        let label = FailureLabels { worker: Arc::clone(&self.url), reason: reason.as_str() };
        self.failures.get_or_create(&label).inc();
    }

    fn times(&self, route: Route) -> &TimeHistograms {
        self.times[route.index()].get_or_init(|| {
            let label = RouteWorkerLabels { route: route.as_str(), worker: Arc::clone(&self.url) };
            TimeHistograms {
                ttft: self.families.ttft.get_or_create_owned(&label),
                tpot: self.families.tpot.get_or_create_owned(&label),
                e2e: self.families.e2e.get_or_create_owned(&label),
            }
        })
    }
}
