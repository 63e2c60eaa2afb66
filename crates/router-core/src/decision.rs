//! A decision and its explanation.

use crate::WorkerId;

/// One named quantity behind a cost, for example `("in_flight", 3.0)`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ScoreTerm {
    /// A stable name, used as a column and label.
    pub name: &'static str,
    /// Its value, in the unit that the policy's page gives.
    pub value: f64,
}

/// How many terms one score can carry.
pub const MAX_TERMS: usize = 10;

/// An inline list of at most [`MAX_TERMS`] terms; building one never allocates.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ScoreTerms {
    len: u8,
    items: [ScoreTerm; MAX_TERMS],
}

impl ScoreTerms {
    /// No terms.
    pub fn none() -> Self {
        Self::default()
    }

    /// The given terms, in order.
    pub fn new<const N: usize>(items: [(&'static str, f64); N]) -> Self {
        const { assert!(N <= MAX_TERMS) };
        let mut terms = Self::default();
        for (to, (name, value)) in terms.items.iter_mut().zip(items) {
            *to = ScoreTerm { name, value };
        }
        terms.len = N as u8;
        terms
    }

    /// Adds one term; terms beyond [`MAX_TERMS`] are left out.
    #[must_use]
    pub fn and(mut self, name: &'static str, value: f64) -> Self {
        if let Some(to) = self.items.get_mut(usize::from(self.len)) {
            *to = ScoreTerm { name, value };
            self.len += 1;
        }
        self
    }

    /// The terms, in order.
    pub fn as_slice(&self) -> &[ScoreTerm] {
        &self.items[..usize::from(self.len)]
    }

    /// The value of the term called `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.as_slice().iter().find(|t| t.name == name).map(|t| t.value)
    }
}

/// The cost of one candidate. Always finite; lower is better.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CandidateScore {
    /// The candidate.
    pub worker: WorkerId,
    /// Its cost, in the unit that the decision's reason implies.
    pub cost: f64,
    /// What the cost was made of.
    pub terms: ScoreTerms,
}

/// Why a choice was made. Closed and low-cardinality: it is a metric label and a CSV value.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// It was the only candidate.
    OnlyCandidate,
    /// It had the lowest cost.
    LowestCost,
    /// Its recent performance gradient was best.
    GradientBased,
    /// It had the least load.
    LoadBased,
    /// It has never been used.
    NewWorker,
    /// It was its turn.
    Rotation,
    /// It was drawn at random.
    Sampled,
    /// It holds the longest prefix of the prompt.
    PrefixAffinity,
    /// The request's key (routing key, or head of the prompt) belongs to it.
    KeyAffinity,
    /// The client named it.
    TargetWorker,
    /// Prompts of this length belong to it.
    LengthBucket,
    /// It comes first.
    FirstInOrder,
    /// Loads were too uneven to follow affinity, so it had the least load.
    LoadImbalance,
    /// Its queue was shortest.
    ShortestQueue,
    /// Its cost was near the lowest, and it had been idle for so long that its learned speed is old.
    Exploration,
    /// The policy lacked the data that it needs, or gave no decision, and a simpler rule was used.
    Fallback,
    /// A policy written against the classic traits chose it and gives no reason.
    Classic,
    /// A policy written in another language chose it and gives no reason.
    Custom,
}

impl Reason {
    /// Every reason, in declaration order.
    pub const ALL: [Self; 18] = [
        Self::OnlyCandidate,
        Self::LowestCost,
        Self::GradientBased,
        Self::LoadBased,
        Self::NewWorker,
        Self::Rotation,
        Self::Sampled,
        Self::PrefixAffinity,
        Self::KeyAffinity,
        Self::TargetWorker,
        Self::LengthBucket,
        Self::FirstInOrder,
        Self::LoadImbalance,
        Self::ShortestQueue,
        Self::Exploration,
        Self::Fallback,
        Self::Classic,
        Self::Custom,
    ];

    /// The name of the reason in metrics, records and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnlyCandidate => "only_candidate",
            Self::LowestCost => "lowest_cost",
            Self::GradientBased => "gradient_based",
            Self::LoadBased => "load_based",
            Self::NewWorker => "new_worker",
            Self::Rotation => "rotation",
            Self::Sampled => "sampled",
            Self::PrefixAffinity => "prefix_affinity",
            Self::KeyAffinity => "key_affinity",
            Self::TargetWorker => "target_worker",
            Self::LengthBucket => "length_bucket",
            Self::FirstInOrder => "first_in_order",
            Self::LoadImbalance => "load_imbalance",
            Self::ShortestQueue => "shortest_queue",
            Self::Exploration => "exploration",
            Self::Fallback => "fallback",
            Self::Classic => "classic",
            Self::Custom => "custom",
        }
    }
}

/// One choice, with what is needed to say why. Copying it never allocates.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Decision {
    /// The chosen worker.
    pub worker: WorkerId,
    /// Why.
    pub reason: Reason,
    /// The chosen worker's cost; absent where the rule does not compare costs.
    pub cost: Option<f64>,
    /// The best candidate that was not chosen, and its cost; absent where the rule does not compare costs.
    pub runner_up: Option<(WorkerId, f64)>,
    /// How many candidates shared the lowest cost; more than one means that chance decided between them.
    pub ties: u32,
    /// Prompt tokens that the chosen worker is predicted to have in its cache; absent where the policy has no prediction in tokens.
    pub predicted_cached_tokens: Option<u32>,
}

impl Decision {
    /// A choice by a rule that compares no costs.
    pub const fn plain(worker: WorkerId, reason: Reason) -> Self {
        Self { worker, reason, cost: None, runner_up: None, ties: 1, predicted_cached_tokens: None }
    }

    /// Replaces the reason.
    #[must_use]
    pub const fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// Another worker in place of this choice, which becomes the runner-up, to learn what it is like.
    pub(crate) fn exploring(self, worker: WorkerId, cost: f64) -> Self {
        let runner_up = self.cost.map(|cost| (self.worker, cost));
        Self { cost: Some(cost), runner_up, ..Self::plain(worker, Reason::Exploration) }
    }

    /// Adds how many prompt tokens the chosen worker is predicted to have in its cache.
    #[must_use]
    pub fn predicting_cached(self, tokens: Option<f64>) -> Self {
        // A float cast saturates.
        let tokens = tokens.filter(|tokens| tokens.is_finite()).map(|tokens| tokens.round() as u32);
        Self { predicted_cached_tokens: tokens, ..self }
    }

    /// How much more the runner-up would have cost.
    pub fn margin(&self) -> Option<f64> {
        Some(self.runner_up?.1 - self.cost?)
    }
}
