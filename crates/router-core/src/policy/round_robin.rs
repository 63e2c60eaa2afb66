//! `round_robin`: one after the other, in id order.

use crate::fleet::Candidates;
use crate::{Decision, DecisionContext, Event, Policy, Reason, Time, WorkerId};

/// Chooses the candidate that comes next after the worker that got the last request.
///
/// The cursor moves when a request is sent, so a shadow policy follows the traffic. When workers come and go, the next
/// one in id order is chosen.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    turn: RotationCursor,
}

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let reason = if cx.candidates.len() == 1 { Reason::OnlyCandidate } else { Reason::Rotation };
        Decision::plain(self.turn.next(cx.candidates), reason)
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.turn.observe(event);
    }
}

/// The worker that was chosen last. Also the fallback of policies that lack data.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RotationCursor {
    last: Option<WorkerId>,
}

impl RotationCursor {
    /// The candidate after the last one served, in id order, and the first after the end.
    pub(crate) fn next(&self, candidates: Candidates<'_>) -> WorkerId {
        let ids = candidates.ids();
        let next = self.last.map_or(0, |last| ids.partition_point(|&id| id <= last));
        ids.get(next).copied().unwrap_or(candidates.first())
    }

    /// Moves the cursor when a request was sent.
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        if let Event::Dispatched { worker, .. } = event {
            self.last = Some(*worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{ExplainLevel, FleetUpdate, RequestFeatures};

    #[test]
    fn rotation_survives_joins_and_leaves() {
        let mut bench = TestBench::new(Box::new(RoundRobin::default()), 3);
        assert_eq!(bench.send_many(7), [0, 1, 2, 0, 1, 2, 0]);
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(bench.ids[1], false));
        assert_eq!(bench.send_many(3), [2, 0, 2]);
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(bench.ids[1], true));
        bench.join();
        assert_eq!(bench.send_many(5), [3, 0, 1, 2, 3]);
    }

    #[test]
    fn retry_does_not_skip_a_worker() {
        let mut bench = TestBench::new(Box::new(RoundRobin::default()), 3);
        assert_eq!(bench.send(), 0);
        let retry = RequestFeatures { attempt: 1, ..RequestFeatures::default() };
        let routed =
            bench.balancer.dispatch(Time::ZERO, &retry, &[bench.ids[1]], ExplainLevel::None).unwrap();
        assert_eq!(routed.decision.worker.slot(), 2);
        assert_eq!(bench.send(), 0);
        let _unfinished = routed.ticket;
    }
}
