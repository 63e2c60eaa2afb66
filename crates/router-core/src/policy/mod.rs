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
mod invalid_option;
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
pub(crate) mod quantile;
mod random;
mod ring;
mod round_robin;
mod sample;
mod shortest_queue;
mod shortlist;
mod speeds;
mod weight_ranges;

pub use bucket::{Bucket, BucketConfig};
pub use cache_aware::{CacheAware, CacheAwareConfig};
pub use consistent_hashing::ConsistentHashing;
pub use fixed_probability::{FixedProbability, FixedProbabilityConfig, Probabilities};
pub use invalid_option::InvalidOption;
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

pub(crate) use best::BestCandidate;
use sample::RandomSubset;

use crate::fleet::Candidates;
use crate::ranking::COMPARE_ALL;
use crate::worker_view::WorkerView;
use crate::{CandidateScore, Decision, Event, Reason, RequestFeatures, Rng, ScoreTerms, Time, WorkerId};
use std::fmt;

/// The terms of a candidate for rules that compare requests in flight by weight.
pub(crate) fn load_terms(w: &WorkerView<'_>) -> ScoreTerms {
    ScoreTerms::new([("in_flight", f64::from(w.in_flight)), ("weight", w.weight())])
}

/// What a policy needs beyond the basics; the host skips what no policy needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PolicyNeeds {
    /// Chained hashes of the prompt ([`RequestFeatures::prefix`]).
    pub prefix_hashes: bool,
    /// The prompt text ([`RequestFeatures::text`]).
    pub text: bool,
    /// What the prompt is written in ([`RequestFeatures::script`]).
    pub script: bool,
    /// Load reports of the workers, polled where responses do not carry them.
    pub load_reports: bool,
    /// The routing key that the client named ([`RequestFeatures::routing_key`]).
    pub routing_key: bool,
    /// The worker that the client named ([`RequestFeatures::target_worker`]), which is then the only candidate.
    pub target_worker: bool,
    /// What the length of the output will be ([`RequestFeatures::forecast`]).
    pub forecast: bool,
    /// How far streams are that still run ([`Event::Progress`]).
    pub progress: bool,
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
        forecast: false,
        progress: false,
    };

    /// The needs as bits, to be read and replaced in one step.
    pub const fn bits(self) -> u8 {
        self.prefix_hashes as u8
            | (self.text as u8) << 1
            | (self.script as u8) << 2
            | (self.load_reports as u8) << 3
            | (self.routing_key as u8) << 4
            | (self.target_worker as u8) << 5
            | (self.forecast as u8) << 6
            | (self.progress as u8) << 7
    }

    /// The needs with these [bits](Self::bits).
    pub const fn from_bits(bits: u8) -> Self {
        Self {
            prefix_hashes: bits & 1 != 0,
            text: bits & 1 << 1 != 0,
            script: bits & 1 << 2 != 0,
            load_reports: bits & 1 << 3 != 0,
            routing_key: bits & 1 << 4 != 0,
            target_worker: bits & 1 << 5 != 0,
            forecast: bits & 1 << 6 != 0,
            progress: bits & 1 << 7 != 0,
        }
    }

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
            forecast: self.forecast || other.forecast,
            progress: self.progress || other.progress,
        }
    }
}

/// A load-balancing policy.
pub trait Policy: Send + fmt::Debug {
    /// Stable name for configuration, metrics and records. No code branches on it.
    fn name(&self) -> &str;

    /// What the host must supply beyond the basics.
    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds::NONE
    }

    /// Chooses one of `cx.candidates` and says why.
    ///
    /// It must not assume that its choice is used: state that depends on a dispatch changes in [`observe`](Self::observe),
    /// so that a shadow policy stays consistent.
    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision;

    /// Updates the policy's state with one event: the only way it learns.
    fn observe(&mut self, _now: Time, _event: &Event<'_>) {}

    /// Reports figures about the policy as a whole, by stable names; what belongs to one worker is a term of its score.
    fn gauges(&self, _report: &mut dyn FnMut(&'static str, f64)) {}
}

/// The input of one decision.
#[derive(Debug)]
pub struct DecisionContext<'a> {
    /// The present.
    pub now: Time,
    /// The request.
    pub request: &'a RequestFeatures<'a>,
    /// The workers that may be chosen, in id order, never empty.
    pub candidates: Candidates<'a>,
    /// The policy's own random numbers.
    pub rng: &'a mut Rng,
    /// Room for the ids of a shortlist, until there is one.
    pub(crate) room: Option<&'a mut Vec<WorkerId>>,
    /// Where the scores go, if they are recorded.
    pub(crate) scores: Option<&'a mut Vec<CandidateScore>>,
    /// Whether only the chosen candidate's score is recorded.
    pub(crate) of_choice: bool,
}

impl DecisionContext<'_> {
    /// The same decision for another policy, or for the same one once more. What either explains is added up.
    pub fn reborrow(&mut self) -> DecisionContext<'_> {
        DecisionContext {
            now: self.now,
            request: self.request,
            candidates: self.candidates,
            rng: self.rng,
            room: self.room.as_deref_mut(),
            scores: self.scores.as_deref_mut(),
            of_choice: self.of_choice,
        }
    }

    /// The same decision with all candidates compared, even where the rule would look at a few of many.
    #[must_use]
    pub fn compare_all(self) -> Self {
        Self { room: None, ..self }
    }

    /// Adds one candidate's score to the explanation, if one is wanted. `terms` runs only then.
    pub fn explain(&mut self, worker: WorkerId, cost: f64, terms: impl FnOnce() -> ScoreTerms) {
        if let Some(scores) = &mut self.scores {
            scores.push(CandidateScore { worker, cost, terms: terms() });
        }
    }

    /// Adds the score of the chosen candidate, where only that is wanted. To be called by rules that know the
    /// choice before its terms, so that the terms of other candidates are not computed.
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
    /// at random between equal priorities.
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

    /// As [`lowest`](Self::lowest), among those that `admit` accepts; among all when it accepts none.
    pub fn lowest_of(
        &mut self,
        reason: Reason,
        admit: impl Fn(&WorkerView<'_>) -> bool,
        mut cost: impl FnMut(&WorkerView<'_>) -> f64,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        let mut best = BestCandidate::default();
        let mut others = BestCandidate::default();
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
        self,
        reason: Reason,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        self.shortlist(std::iter::empty()).lowest(reason, |w| w.next_load(), terms)
    }

    /// As [`lowest`](Self::lowest), among `choices` candidates drawn at random; among a shortlist when `choices` is 0.
    pub(crate) fn lowest_drawn(
        mut self,
        choices: usize,
        reason: Reason,
        cost: impl Fn(&WorkerView<'_>) -> f64,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        if choices == 0 || choices >= candidates.len() {
            return self.shortlist(std::iter::empty()).lowest(reason, cost, terms);
        }
        let drawn = RandomSubset::new(candidates.len(), choices, self.rng);
        let mut best = BestCandidate::default();
        for w in drawn.places().iter().filter_map(|&i| candidates.at(i)) {
            let c = cost(&w);
            let c = if c.is_finite() { c } else { f64::MAX };
            self.explain(w.id, c, || terms(&w));
            best.offer(&w, c, self.rng);
        }
        best.decide(candidates, reason)
    }

    /// Chooses the candidate that owns the request's key. In the explanation it costs 0, and the others 1, unless there are
    /// too many to name.
    pub(crate) fn keyed(
        &mut self,
        owner: WorkerId,
        reason: Reason,
        terms: impl Fn(&WorkerView<'_>) -> ScoreTerms,
    ) -> Decision {
        let candidates = self.candidates;
        if self.scores.is_some() {
            let named = if candidates.len() <= COMPARE_ALL { candidates.ids() } else { &[owner] };
            for w in named.iter().filter_map(|id| candidates.get(*id)) {
                self.explain(w.id, f64::from(u8::from(w.id != owner)), || terms(&w));
            }
        }
        Decision::plain(owner, if candidates.len() == 1 { Reason::OnlyCandidate } else { reason })
    }
}
