//! `passthrough`: the first worker, always.

use super::BestCandidate;
use crate::{Decision, DecisionContext, Policy, Reason};

/// Chooses the candidate of the highest priority, and among those the one that joined first. For a single worker, or
/// for one that is active and others that stand by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passthrough;

impl Policy for Passthrough {
    fn name(&self) -> &'static str {
        "passthrough"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let mut first = BestCandidate::default();
        for (place, w) in cx.candidates.iter().enumerate() {
            first.offer_then(w.id, w.rank() as f64, place as u64, cx.rng);
        }
        let reason = if cx.candidates.len() == 1 { Reason::OnlyCandidate } else { Reason::FirstInOrder };
        Decision::plain(first.decide(cx.candidates, reason).worker, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, Time, WorkerInfo};

    #[test]
    fn other_workers_only_stand_by() {
        let mut bench = TestBench::new(Box::new(Passthrough), 2);
        bench.hold(0, 50);
        assert_eq!(bench.send_many(3), [0; 3]);
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(bench.ids[0], false));
        assert_eq!(bench.send(), 1);
        bench.join_as(WorkerInfo { priority: 51, ..WorkerInfo::new("http://better") });
        assert_eq!(bench.send(), 2);
        assert_eq!(bench.last_reason(), Reason::FirstInOrder);
    }
}
