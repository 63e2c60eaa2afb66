//! What a policy is, and the policies themselves, one file each.
//!
//! A policy is a deterministic state machine over one stream of events. It reads no clock and no entropy,
//! does no I/O, and sees nothing but its context and its events.
//!
//! ```
//! use router_core::{DecisionContext, Decision, Policy, Reason, ScoreTerms};
//!
//! /// Fewest requests in flight.
//! #[derive(Debug)]
//! struct LeastRequest;
//!
//! impl Policy for LeastRequest {
//!     fn name(&self) -> &str {
//!         "least_request"
//!     }
//!     fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
//!         cx.lowest(Reason::LoadBased, |w| f64::from(w.in_flight), |w| ScoreTerms::new([("in_flight", f64::from(w.in_flight))]))
//!     }
//! }
//! ```

mod best;
mod bucket;
mod cache_aware;
mod consistent_hashing;
mod fixed_probability;
mod key_table;
mod least_load;
mod least_request;
mod lmetric;
mod manual;
mod marginal_cost;
mod marginal_utility;
mod passthrough;
mod peak_ewma;
mod power_of_two;
mod prefix_hash;
mod prequal;
mod quantile;
mod random;
mod ring;
mod round_robin;
mod sample;
mod shortest_queue;
mod speeds;

pub use bucket::{Bucket, BucketConfig};
pub use cache_aware::{CacheAware, CacheAwareConfig};
pub use consistent_hashing::ConsistentHashing;
pub use fixed_probability::{FixedProbability, FixedProbabilityConfig, Probabilities};
pub use least_load::{LeastLoad, LeastLoadConfig};
pub use least_request::{LeastRequest, LeastRequestConfig};
pub use lmetric::{LMetric, LMetricConfig};
pub use manual::{AssignmentMode, Manual, ManualConfig};
pub use marginal_cost::{MarginalCost, MarginalCostConfig};
pub use marginal_utility::{MarginalUtility, MarginalUtilityConfig};
pub use passthrough::Passthrough;
pub use peak_ewma::{PeakEwma, PeakEwmaConfig};
pub use power_of_two::{PowerOfTwo, PowerOfTwoConfig};
pub use prefix_hash::{PrefixHash, PrefixHashConfig};
pub use prequal::{Prequal, PrequalConfig};
pub use random::Random;
pub use round_robin::RoundRobin;
pub use shortest_queue::{ShortestQueue, ShortestQueueConfig};

pub(crate) use best::Best;
use sample::Drawn;

use crate::fleet::{Candidates, WorkerView};
use crate::{
    CandidateScore, Decision, Event, PrefixIndex, Reason, RequestFeatures, Rng, ScoreTerms, Time, WorkerId,
};
use std::fmt;

/// An option with a value that makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{option}` {message}")]
pub struct InvalidOption {
    /// The name of the option, as it is typed in the configuration.
    pub option: &'static str,
    /// What is wrong, to be read after the name: "must be at least 2, not 1".
    pub message: String,
}

impl InvalidOption {
    /// The error for a `value` that is not as it `must` be.
    pub(crate) fn must(option: &'static str, must: &str, value: impl fmt::Display) -> Self {
        Self { option, message: format!("must be {must}, not {value}") }
    }

    /// Passes a size in bytes that an index of prompt prefixes can work with.
    pub(crate) fn check_tree_size(bytes: usize) -> Result<(), Self> {
        let range = PrefixIndex::MIN_BYTES..=PrefixIndex::MAX_BYTES;
        if range.contains(&bytes) {
            return Ok(());
        }
        Err(Self::must("max_tree_size", &format!("from {} to {}", range.start(), range.end()), bytes))
    }

    /// Passes a number that is finite and above zero.
    pub(crate) fn check_positive(option: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value > 0.0 { Ok(()) } else { Err(Self::must(option, "above 0", value)) }
    }

    /// Passes a number that is finite and not negative.
    pub(crate) fn check_not_negative(option: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(Self::must(option, "0 or more", value)) }
    }
}

/// What is told about a candidate wherever requests in flight count for its weight.
pub(crate) fn load_terms(w: &WorkerView<'_>) -> ScoreTerms {
    ScoreTerms::new([("in_flight", f64::from(w.in_flight)), ("weight", w.weight())])
}

/// What a policy wants beyond the basics; the host skips what nobody needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyNeeds {
    /// Chained hashes of the prompt ([`RequestFeatures::prefix`]).
    pub prefix_hashes: bool,
    /// The prompt text ([`RequestFeatures::text`]).
    pub text: bool,
    /// What the prompt is written in ([`RequestFeatures::script`]).
    pub script: bool,
    /// Load reports of the workers, polled where they do not ride on answers.
    pub load_reports: bool,
    /// The routing key that the client named ([`RequestFeatures::routing_key`]).
    pub routing_key: bool,
    /// The worker that the client named ([`RequestFeatures::target_worker`]), which is then the only candidate.
    pub target_worker: bool,
}

impl PolicyNeeds {
    /// Nothing beyond the basics.
    pub const NONE: Self = Self {
        prefix_hashes: false,
        text: false,
        script: false,
        load_reports: false,
        routing_key: false,
        target_worker: false,
    };

    /// What either needs.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            prefix_hashes: self.prefix_hashes || other.prefix_hashes,
            text: self.text || other.text,
            script: self.script || other.script,
            load_reports: self.load_reports || other.load_reports,
            routing_key: self.routing_key || other.routing_key,
            target_worker: self.target_worker || other.target_worker,
        }
    }
}

/// A load-balancing policy.
pub trait Policy: Send + fmt::Debug {
    /// Stable name for configuration, metrics and records. Nothing ever branches on it.
    fn name(&self) -> &str;

    /// What the host must supply beyond the basics.
    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds::NONE
    }

    /// Chooses one of `cx.candidates` and says why.
    ///
    /// It must not assume that it is obeyed: state that depends on a dispatch changes in [`observe`](Self::observe),
    /// so that a shadow stays true.
    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision;

    /// Folds one fact into the policy's own state: the only way it learns.
    fn observe(&mut self, _now: Time, _event: &Event<'_>) {}

    /// Tells figures about the policy as a whole, by stable names; what belongs to one worker is a term of its score.
    fn gauges(&self, _tell: &mut dyn FnMut(&'static str, f64)) {}
}

/// Everything a policy has to decide by.
#[derive(Debug)]
pub struct DecisionContext<'a> {
    /// When.
    pub now: Time,
    /// For what.
    pub request: &'a RequestFeatures<'a>,
    /// From whom: workers that may be chosen, in id order, never empty.
    pub candidates: Candidates<'a>,
    /// The policy's own chance.
    pub rng: &'a mut Rng,
    /// Where the scores go when somebody records them.
    pub(crate) scores: Option<&'a mut Vec<CandidateScore>>,
    /// Whether the chosen candidate's score is all that anybody wants of them.
    pub(crate) of_choice: bool,
}

impl DecisionContext<'_> {
    /// Adds one candidate's score to the explanation, if somebody wants one. `terms` runs only then.
    pub fn explain(&mut self, worker: WorkerId, cost: f64, terms: impl FnOnce() -> ScoreTerms) {
        if let Some(scores) = &mut self.scores {
            scores.push(CandidateScore { worker, cost, terms: terms() });
        }
    }

    /// Adds the score of the chosen candidate, where it is all that anybody wants. To be called by rules that know the
    /// choice before its terms, which are then worked out for nobody else.
    pub(crate) fn explain_choice(
        &mut self,
        decision: &Decision,
        terms: impl FnOnce(&WorkerView<'_>) -> ScoreTerms,
    ) {
        if self.of_choice
            && let Some(cost) = decision.cost
            && let Some(chosen) = self.candidates.get(decision.worker)
        {
            self.explain(chosen.id, cost, || terms(&chosen));
        }
    }

    /// Chooses the candidate with the lowest `cost`; of those at equal cost the one with the highest priority, and
    /// by lot when they are equal in that, too.
    ///
    /// A cost that is not finite is a fault of the policy; such a candidate counts as the worst.
    pub fn lowest(
        &mut self,
        reason: Reason,
        cost: impl FnMut(&WorkerView<'_>) -> f64,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        self.lowest_of(reason, |_| true, cost, terms)
    }

    /// As [`lowest`](Self::lowest), among those that `admit` lets in; among all when it lets nobody in.
    pub fn lowest_of(
        &mut self,
        reason: Reason,
        admit: impl Fn(&WorkerView<'_>) -> bool,
        mut cost: impl FnMut(&WorkerView<'_>) -> f64,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        let mut best = Best::default();
        let mut others = Best::default();
        for w in candidates.iter() {
            let c = cost(&w);
            let c = if c.is_finite() { c } else { f64::MAX };
            if !self.of_choice {
                self.explain(w.id, c, || terms(&w));
            }
            if admit(&w) {
                best.offer(&w, c, self.rng);
            } else if best.is_empty() {
                others.offer(&w, c, self.rng);
            }
        }
        let best = if best.is_empty() { others } else { best };
        let decision = best.decide(candidates, reason);
        self.explain_choice(&decision, terms);
        decision
    }

    /// The candidate with the least load for its weight, the new request counted.
    pub(crate) fn least_loaded(
        &mut self,
        reason: Reason,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        self.lowest(reason, |w| w.next_load(), terms)
    }

    /// As [`lowest`](Self::lowest), among `choices` candidates drawn by lot; among all when `choices` is 0.
    pub(crate) fn lowest_drawn(
        &mut self,
        choices: usize,
        reason: Reason,
        cost: impl Fn(&WorkerView<'_>) -> f64,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        if choices == 0 || choices >= candidates.len() {
            return self.lowest(reason, cost, terms);
        }
        let drawn = Drawn::new(candidates.len(), choices, self.rng);
        let mut best = Best::default();
        for w in drawn.places().iter().filter_map(|&i| candidates.at(i)) {
            let c = cost(&w);
            let c = if c.is_finite() { c } else { f64::MAX };
            self.explain(w.id, c, || terms(&w));
            best.offer(&w, c, self.rng);
        }
        best.decide(candidates, reason)
    }

    /// The candidate to whom such a request belongs. In the explanation it costs 0, and the others 1.
    pub(crate) fn keyed(
        &mut self,
        owner: WorkerId,
        reason: Reason,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        if self.scores.is_some() {
            for w in candidates.iter() {
                self.explain(w.id, f64::from(u8::from(w.id != owner)), || terms(&w));
            }
        }
        Decision::plain(owner, if candidates.len() == 1 { Reason::OnlyCandidate } else { reason })
    }
}
