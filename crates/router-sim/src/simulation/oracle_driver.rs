//! How the oracle speaks through a router: it sets what a policy that does as it is told will choose next.

use crate::contender::DecisionMaker;
use crate::oracle::Oracle;
use router_core::{Decision, DecisionContext, Policy, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The oracle and the slot that it has chosen.
#[derive(Debug)]
pub(super) struct OracleDriver {
    pub(super) oracle: Oracle,
    told: Arc<AtomicUsize>,
}

impl OracleDriver {
    /// A guide, if that is who decides.
    pub(super) fn of(brain: &DecisionMaker<'_>, seed: u64) -> Option<Self> {
        match brain {
            DecisionMaker::Policy(_) => None,
            DecisionMaker::Oracle(weights) => {
                Some(Self { oracle: Oracle::new(*weights, seed), told: Arc::default() })
            }
        }
    }

    /// The next request goes to the worker in this slot.
    pub(super) fn tell(&self, slot: usize) {
        self.told.store(slot, Ordering::Relaxed);
    }

    /// A fresh policy for one router, which the guide speaks through if there is one.
    pub(super) fn policy(guide: Option<&Self>, brain: &DecisionMaker<'_>) -> Box<dyn Policy> {
        match (guide, brain) {
            (_, DecisionMaker::Policy(make)) => make(),
            (guide, DecisionMaker::Oracle(_)) => {
                Box::new(OraclePolicy(guide.map(|guide| Arc::clone(&guide.told)).unwrap_or_default()))
            }
        }
    }
}

/// Chooses the worker in the slot that it is told.
#[derive(Debug)]
struct OraclePolicy(Arc<AtomicUsize>);

impl Policy for OraclePolicy {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let slot = self.0.load(Ordering::Relaxed);
        match cx.candidates.ids().iter().find(|id| id.slot() == slot) {
            Some(&id) => Decision::plain(id, Reason::LowestCost),
            None => Decision::plain(cx.candidates.first(), Reason::Fallback),
        }
    }
}
