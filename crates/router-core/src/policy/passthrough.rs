//! `passthrough`: the first worker, always.

use crate::{Decision, DecisionContext, Event, Policy, Reason, SlotMap, Time, WorkerId};
use std::collections::BTreeSet;

/// Chooses the candidate of the highest priority, and among those the one that joined first. For a single worker, or
/// for one that is active and others that stand by.
#[derive(Clone, Debug, Default)]
pub struct Passthrough {
    /// All workers, the highest priority first.
    order: BTreeSet<(u32, WorkerId)>,
    ranks: SlotMap<u32>,
}

impl Passthrough {
    fn forget(&mut self, worker: WorkerId) {
        if let Some(rank) = self.ranks.remove(worker) {
            self.order.remove(&(rank, worker));
        }
    }
}

impl Policy for Passthrough {
    fn name(&self) -> &'static str {
        "passthrough"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let mut in_order = self.order.iter().map(|(_, worker)| *worker);
        let first = in_order.find(|worker| cx.candidates.contains(*worker));
        let reason = if cx.candidates.len() == 1 { Reason::OnlyCandidate } else { Reason::FirstInOrder };
        Decision::plain(first.unwrap_or(cx.candidates.first()), reason)
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } | Event::Changed { worker, info } => {
                self.forget(*worker);
                let rank = u32::MAX - info.priority;
                self.ranks.insert(*worker, rank);
                self.order.insert((rank, *worker));
            }
            Event::Left(worker) => self.forget(*worker),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, Time, WorkerInfo};

    #[test]
    fn other_workers_only_stand_by() {
        let mut bench = TestBench::new(Box::new(Passthrough::default()), 2);
        bench.hold(0, 50);
        assert_eq!(bench.send_many(3), [0; 3]);
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(bench.ids[0], false));
        assert_eq!(bench.send(), 1);
        bench.join_as(WorkerInfo { priority: 51, ..WorkerInfo::new("http://better") });
        assert_eq!(bench.send(), 2);
        assert_eq!(bench.last_reason(), Reason::FirstInOrder);
    }
}
