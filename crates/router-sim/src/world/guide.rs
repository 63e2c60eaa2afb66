//! How the oracle speaks through a router: it sets what a policy that does as it is told will choose next.

use crate::contender::Brain;
use crate::oracle::Oracle;
use router_core::{Cx, Decision, Policy, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The oracle and the slot that it has chosen.
#[derive(Debug)]
pub(super) struct Guide {
    pub(super) oracle: Oracle,
    told: Arc<AtomicUsize>,
}

impl Guide {
    /// A guide, if that is who decides.
    pub(super) fn of(brain: &Brain<'_>, seed: u64) -> Option<Self> {
        match brain {
            Brain::Policy(_) => None,
            Brain::Oracle(weights) => {
                Some(Self { oracle: Oracle::new(*weights, seed), told: Arc::default() })
            }
        }
    }

    /// The next request goes to the worker in this slot.
    pub(super) fn tell(&self, slot: usize) {
        self.told.store(slot, Ordering::Relaxed);
    }

    /// A fresh policy for one router, which the guide speaks through if there is one.
    pub(super) fn policy(guide: Option<&Self>, brain: &Brain<'_>) -> Box<dyn Policy> {
        match (guide, brain) {
            (_, Brain::Policy(make)) => make(),
            (guide, Brain::Oracle(_)) => {
                Box::new(Told(guide.map(|guide| Arc::clone(&guide.told)).unwrap_or_default()))
            }
        }
    }
}

/// Chooses the worker in the slot that it is told.
#[derive(Debug)]
struct Told(Arc<AtomicUsize>);

impl Policy for Told {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn decide(&mut self, cx: Cx<'_>) -> Decision {
        let slot = self.0.load(Ordering::Relaxed);
        match cx.candidates.ids().iter().find(|id| id.slot() == slot) {
            Some(&id) => Decision::plain(id, Reason::LowestCost),
            None => Decision::plain(cx.candidates.first(), Reason::Fallback),
        }
    }
}
