//! How the oracle decides for a router: it sets the slot that a policy of its own will choose next.

use crate::decision_maker::DecisionMaker;
use crate::oracle::Oracle;
use router_core::{Decision, DecisionContext, Policy, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The oracle, and the slot that it has chosen for the next request.
#[derive(Debug)]
pub(super) struct OracleDriver {
    pub(super) oracle: Oracle,
    chosen_slot: Arc<AtomicUsize>,
}

impl OracleDriver {
    /// A driver if the oracle decides; nothing if a policy does.
    pub(super) fn of(decider: &DecisionMaker<'_>, seed: u64) -> Option<Self> {
        match decider {
            DecisionMaker::Policy(_) => None,
            DecisionMaker::Oracle(weights) => {
                Some(Self { oracle: Oracle::new(*weights, seed), chosen_slot: Arc::default() })
            }
        }
    }

    /// Sends the next request to the worker in this slot.
    pub(super) fn set_slot(&self, slot: usize) {
        self.chosen_slot.store(slot, Ordering::Relaxed);
    }

    /// A new policy for one router; with the oracle, one that chooses the driver's slot.
    pub(super) fn policy(driver: Option<&Self>, decider: &DecisionMaker<'_>) -> Box<dyn Policy> {
        match decider {
            DecisionMaker::Policy(make) => make(),
            DecisionMaker::Oracle(_) => {
                let slot = driver.map(|driver| Arc::clone(&driver.chosen_slot)).unwrap_or_default();
                Box::new(OraclePolicy { slot })
            }
        }
    }
}

/// Chooses the worker in the slot that the oracle has set.
#[derive(Debug)]
struct OraclePolicy {
    slot: Arc<AtomicUsize>,
}

impl Policy for OraclePolicy {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let slot = self.slot.load(Ordering::Relaxed);
        match cx.candidates.ids().iter().find(|id| id.slot() == slot) {
            Some(&id) => Decision::plain(id, Reason::LowestCost),
            None => Decision::plain(cx.candidates.first(), Reason::Fallback),
        }
    }
}
