//! Which policies a balancer runs, and how others take their place.

use crate::event_history::EventHistory;
use crate::fleet::{Candidates, Fleet};
use crate::{
    CandidateScore, Decision, DecisionContext, Event, ExplainLevel, Policy, PolicyNumber, Reason,
    RequestFeatures, Rng, Time, WorkerId,
};

/// A policy with its own random numbers.
#[derive(Debug)]
pub(crate) struct PolicySlot {
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) rng: Rng,
}

/// A policy that has learned from what happened so far, and is about to take part.
#[derive(Debug)]
pub struct PreparedPolicy {
    pub(crate) slot: PolicySlot,
    /// The number of the first event that it has not seen; absent where it has seen none.
    pub(crate) seen: Option<u64>,
}

impl PreparedPolicy {
    /// A policy that has learned from `history`, which a balancer [gives](crate::Balancer::history). This takes some milliseconds
    /// and needs no lock. Without a history it knows nothing but the workers.
    pub fn new(mut policy: Box<dyn Policy>, seed: u64, history: Option<&EventHistory>) -> Self {
        let seen = history.map(|history| {
            history.tell_all(&mut *policy);
            history.end()
        });
        Self { slot: PolicySlot { policy, rng: Rng::seeded(seed) }, seen }
    }

    /// Tells it the present: the workers, if it has not heard of them, and what each reported last.
    pub(crate) fn introduce(self, now: Time, fleet: &Fleet) -> PolicySlot {
        let Self { mut slot, seen } = self;
        for view in fleet.iter() {
            if seen.is_none() {
                slot.policy.observe(now, &Event::Joined { worker: view.id, info: view.info });
            }
            if let Some(report) = view.load {
                slot.policy.observe(now, &Event::Load { worker: view.id, report });
            }
        }
        slot
    }
}

/// Where a policy of the next line-up comes from.
#[derive(Debug)]
pub enum NextPolicy {
    /// It is the live one.
    Live,
    /// It is the shadow at this position, and knows all that it has learned as one.
    Shadow(usize),
    /// It is new.
    New(PreparedPolicy),
}

/// The policies that a balancer runs from now on.
#[derive(Debug)]
pub struct PolicyLineup {
    /// The live policy.
    pub live: NextPolicy,
    /// The number of the live policy.
    pub number: PolicyNumber,
    /// The shadows, in order.
    pub shadows: Vec<NextPolicy>,
}

/// Why a line-up was refused; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LineupError {
    /// So much happened since the policies were prepared that they cannot catch up any more: they are to be prepared again.
    #[error("more has happened since the policy was prepared than is kept")]
    Outdated,
    /// A present policy is named that there is not, or twice.
    #[error("a present policy is wanted that there is not, or twice")]
    NotThere,
}

impl PolicyLineup {
    /// Lets new policies catch up with `history`.
    pub(crate) fn catch_up(&mut self, history: Option<&EventHistory>) -> Result<(), LineupError> {
        let all = std::iter::once(&mut self.live).chain(&mut self.shadows);
        for next in all {
            if let (NextPolicy::New(new), Some(history)) = (next, history)
                && let Some(seen) = &mut new.seen
            {
                if !history.tell_since(*seen, &mut *new.slot.policy) {
                    return Err(LineupError::Outdated);
                }
                *seen = history.end();
            }
        }
        Ok(())
    }

    /// Whether every present policy that is wanted is there, and wanted once.
    pub(crate) fn check(&self, shadows: usize) -> Result<(), LineupError> {
        let mut wanted = vec![false; shadows + 1];
        for next in std::iter::once(&self.live).chain(&self.shadows) {
            let place = match next {
                NextPolicy::Live => 0,
                NextPolicy::Shadow(at) => at + 1,
                NextPolicy::New(_) => continue,
            };
            match wanted.get_mut(place) {
                Some(is_wanted) if !*is_wanted => *is_wanted = true,
                _ => return Err(LineupError::NotThere),
            }
        }
        Ok(())
    }
}

impl PolicySlot {
    /// Asks the policy, with its own random numbers, and replaces a choice that is no candidate.
    pub(crate) fn decide(
        &mut self,
        now: Time,
        request: &RequestFeatures<'_>,
        candidates: Candidates<'_>,
        explain: ExplainLevel,
        room: Option<&mut Vec<WorkerId>>,
        scores: &mut Vec<CandidateScore>,
    ) -> Decision {
        let scores = (explain != ExplainLevel::None).then_some(scores);
        let of_choice = explain == ExplainLevel::Chosen;
        let rng = &mut self.rng;
        let decision =
            self.policy.decide(DecisionContext { now, request, candidates, rng, room, scores, of_choice });
        if candidates.contains(decision.worker) {
            return decision;
        }
        // A faulty policy must neither stop the router nor send all traffic to one worker.
        let random = self.rng.below(candidates.len());
        Decision::plain(candidates.id(random), Reason::Fallback)
    }
}
