//! What is counted of each worker.

use crate::attempt_info::AttemptInfo;
use crate::breaker_state::BreakerState;
use crate::failure_reason::FailureReason;
use crate::leg::Leg;
use crate::prometheus::family::Buckets;
use crate::prometheus::histogram::Histogram;
use parking_lot::Mutex;
use router_core::{Completion, Outcome, PolicyNumber, Route};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in seconds for the time between two tokens: 1 ms to 2.5 s.
const TOKEN_BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 1.0, 2.5];

/// All outcomes, in the order in which they are counted.
pub(crate) const OUTCOMES: [Outcome; 5] =
    [Outcome::Success, Outcome::Rejected, Outcome::Busy, Outcome::Failed, Outcome::Cancelled];

/// Upper bounds of the histograms of workers.
#[derive(Clone, Debug)]
pub(crate) struct TimeBuckets {
    durations: Buckets,
    tokens: Buckets,
}

/// The metrics of one worker.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Decisions of the policy that was live when it joined, and of those that were live later.
    decisions: AtomicU64,
    policy: PolicyNumber,
    later_decisions: Mutex<Vec<(PolicyNumber, u64)>>,
    /// By outcome, in the order of [`OUTCOMES`].
    pub(crate) outcomes: [AtomicU64; OUTCOMES.len()],
    /// Changes of its breaker, by new state.
    pub(crate) breaker: [AtomicU64; BreakerState::ALL.len()],
    /// Failed checks and connections, by reason.
    pub(crate) failures: [AtomicU64; FailureReason::ALL.len()],
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) cached_tokens: AtomicU64,
    pub(crate) output_tokens: AtomicU64,
    pub(crate) prefill: LegCounters,
    pub(crate) decode: LegCounters,
    /// Split streams that failed after a part was sent to the client.
    pub(crate) stream_errors: AtomicU64,
    /// By route, created when the route is first used.
    pub(crate) times: [OnceLock<Box<TimeHistograms>>; Route::ALL.len()],
    /// The sum of all observations of `e2e` on all routes, in nanoseconds.
    total_nanos: AtomicU64,
    buckets: TimeBuckets,
}

/// The counters of one leg of split requests.
#[derive(Debug, Default)]
pub(crate) struct LegCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// The histograms of one route on one worker.
#[derive(Debug)]
pub(crate) struct TimeHistograms {
    pub(crate) ttft: Histogram,
    pub(crate) tpot: Histogram,
    pub(crate) e2e: Histogram,
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
    /// Attempts that ended, however they did.
    pub ended: u64,
    /// Prompt tokens of complete responses, as the worker reported them.
    pub prompt_tokens: u64,
    /// Those of them that were in its cache.
    pub cached_tokens: u64,
    /// Complete responses that told how many that were.
    pub cache_reports: u64,
    /// Tokens that it generated.
    pub output_tokens: u64,
}

impl TimeBuckets {
    /// With these bounds of the durations.
    pub(crate) fn new(durations: &Buckets) -> Self {
        Self { durations: durations.clone(), tokens: Buckets::new(&TOKEN_BUCKETS) }
    }
}

impl WorkerMetrics {
    pub(crate) fn new(policy: PolicyNumber, buckets: TimeBuckets) -> Self {
        Self {
            decisions: AtomicU64::default(),
            policy,
            later_decisions: Mutex::default(),
            outcomes: Default::default(),
            breaker: Default::default(),
            failures: Default::default(),
            hits: AtomicU64::default(),
            misses: AtomicU64::default(),
            prompt_tokens: AtomicU64::default(),
            cached_tokens: AtomicU64::default(),
            output_tokens: AtomicU64::default(),
            prefill: LegCounters::default(),
            decode: LegCounters::default(),
            stream_errors: AtomicU64::default(),
            times: Default::default(),
            total_nanos: AtomicU64::default(),
            buckets,
        }
    }

    pub(crate) fn decided(&self, policy: PolicyNumber) {
        if policy == self.policy {
            self.decisions.fetch_add(1, Relaxed);
            return;
        }
        let mut later = self.later_decisions.lock();
        match later.iter_mut().find(|(of, _)| *of == policy) {
            Some((_, decisions)) => *decisions += 1,
            None => later.push((policy, 1)),
        }
    }

    /// Decisions by policy.
    pub(crate) fn decisions(&self) -> impl Iterator<Item = (PolicyNumber, u64)> {
        let later = self.later_decisions.lock().clone();
        std::iter::once((self.policy, self.decisions.load(Relaxed))).chain(later)
    }

    pub(crate) fn completed(&self, info: &AttemptInfo, completion: &Completion) {
        let result = &completion.result;
        if let Some(at) = OUTCOMES.iter().position(|o| *o == result.outcome) {
            self.outcomes[at].fetch_add(1, Relaxed);
        }
        self.leg_completed(info.leg, result.outcome);
        if result.outcome != Outcome::Success {
            return;
        }
        let usage = &result.usage;
        if let Some(cached) = usage.cached_tokens {
            let counter = if cached > 0 { &self.hits } else { &self.misses };
            counter.fetch_add(1, Relaxed);
            self.cached_tokens.fetch_add(cached.into(), Relaxed);
        }
        self.prompt_tokens.fetch_add(usage.prompt_tokens.unwrap_or(0).into(), Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens.unwrap_or(0).into(), Relaxed);
        self.observe_times(info, completion);
    }

    fn observe_times(&self, info: &AttemptInfo, completion: &Completion) {
        let times = self.times(info.route);
        let took = info.total_latency(completion);
        times.e2e.observe(took.as_secs_f64());
        self.total_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if let Some(ttft) = info.time_to_first_byte(completion, completion.dispatched_at) {
            times.ttft.observe(ttft.as_secs_f64());
            let tokens = completion.result.usage.output_tokens;
            if let Some(rest) = tokens.map(|n| n.saturating_sub(1)).filter(|n| *n > 0) {
                let generation = completion.finished_at.since(completion.dispatched_at).saturating_sub(ttft);
                times.tpot.observe(generation.as_secs_f64() / f64::from(rest));
            }
        }
    }

    fn leg_completed(&self, leg: Leg, outcome: Outcome) {
        let leg = match leg {
            Leg::Whole => return,
            Leg::Prefill => &self.prefill,
            Leg::Decode => &self.decode,
        };
        leg.requests.fetch_add(1, Relaxed);
        if matches!(outcome, Outcome::Failed | Outcome::Busy) {
            leg.errors.fetch_add(1, Relaxed);
        }
    }

    /// A split stream failed after a part was sent to the client.
    pub(crate) fn split_stream_failed(&self) {
        self.stream_errors.fetch_add(1, Relaxed);
    }

    /// The counts so far.
    pub fn counts(&self) -> WorkerCounts {
        let of = |outcome| {
            OUTCOMES.iter().position(|o| *o == outcome).map_or(0, |at| self.outcomes[at].load(Relaxed))
        };
        let successes = of(Outcome::Success);
        let seconds = Duration::from_nanos(self.total_nanos.load(Relaxed)).as_secs_f64();
        WorkerCounts {
            decisions: self.decisions.load(Relaxed),
            successes,
            failures: of(Outcome::Failed),
            mean_latency: (successes > 0).then(|| seconds / successes as f64),
            ended: self.outcomes.iter().map(|count| count.load(Relaxed)).sum(),
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            cached_tokens: self.cached_tokens.load(Relaxed),
            cache_reports: self.hits.load(Relaxed) + self.misses.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
        }
    }

    /// Counts a change of the worker's circuit breaker to this state.
    pub fn breaker_changed(&self, state: BreakerState) {
        self.breaker[usize::from(state.number())].fetch_add(1, Relaxed);
    }

    /// Counts a failed health check, or a connection that a request could not make.
    pub fn check_failed(&self, reason: FailureReason) {
        self.failures[reason as usize].fetch_add(1, Relaxed);
    }

    fn times(&self, route: Route) -> &TimeHistograms {
        self.times[route.index()].get_or_init(|| {
            let TimeBuckets { durations, tokens } = &self.buckets;
            Box::new(TimeHistograms {
                ttft: Histogram::new(durations),
                tpot: Histogram::new(tokens),
                e2e: Histogram::new(durations),
            })
        })
    }
}
