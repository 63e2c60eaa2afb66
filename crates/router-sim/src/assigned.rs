//! A policy that repeats recorded choices, to replay what a real router did.

use router_core::{Decision, DecisionContext, Policy, Reason};

/// Sends request `i` of a workload to server `to[i]` of the fleet, whatever the load. A request beyond the list, or a
/// server that is gone, gets the first candidate and the reason `fallback`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssignedPolicy {
    /// Server index by request index.
    pub to: Vec<usize>,
}

impl Policy for AssignedPolicy {
    fn name(&self) -> &'static str {
        "assigned"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let slot = usize::try_from(cx.request.id.0).ok().and_then(|i| self.to.get(i));
        let known = cx.candidates.ids().iter().find(|id| Some(&id.slot()) == slot);
        match known {
            Some(&id) => Decision::plain(id, Reason::Rotation),
            None => Decision::plain(cx.candidates.first(), Reason::Fallback),
        }
    }
}
