//! `consistent_hashing`: a routing key belongs to one worker, by hash.

use super::load_terms;
use super::ring::HashRing;
use crate::{Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, Time};

/// Sends requests of one routing key to one worker; keys are spread by a ring of hashes, so few of them move when
/// workers come and go. A request that names its worker goes there.
///
/// Without a key the least loaded worker is chosen.
#[derive(Clone, Debug, Default)]
pub struct ConsistentHashing {
    ring: HashRing,
}

impl Policy for ConsistentHashing {
    fn name(&self) -> &'static str {
        "consistent_hashing"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { routing_key: true, target_worker: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let named = cx.request.target_worker;
        if let Some(&id) = cx.candidates.ids().iter().find(|id| Some(id.slot()) == named) {
            return Decision::plain(id, Reason::TargetWorker);
        }
        match cx.request.routing_key.and_then(|key| self.ring.owner(key, cx.candidates)) {
            Some(owner) => cx.keyed(owner, Reason::KeyAffinity, load_terms),
            None => cx.least_loaded(Reason::Fallback, load_terms),
        }
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.ring.observe(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{ExplainLevel, FleetUpdate, NoWorker, RequestFeatures, WorkerCapacity};

    fn keyed(key: u64) -> RequestFeatures<'static> {
        RequestFeatures { routing_key: Some(key), ..RequestFeatures::default() }
    }

    fn to(slot: usize) -> RequestFeatures<'static> {
        RequestFeatures { target_worker: Some(slot), ..keyed(1) }
    }

    #[test]
    fn key_ignores_load_and_keys_spread() {
        let mut bench = TestBench::new(Box::new(ConsistentHashing::default()), 4);
        let first: Vec<_> = (0..200).map(|key| bench.send_as(&keyed(key))).collect();
        assert_eq!(bench.last_reason(), Reason::KeyAffinity);
        let again: Vec<_> = (0..200).map(|key| bench.send_as(&keyed(key))).collect();
        assert_eq!(first, again);
        assert!((0..4).all(|w| first.iter().filter(|&&f| f == w).count() > 20), "{first:?}");
    }

    #[test]
    fn without_key_least_loaded_is_fallback() {
        let mut bench = TestBench::new(Box::new(ConsistentHashing::default()), 2);
        bench.hold(0, 2);
        assert_eq!(bench.send(), 1);
        assert_eq!(bench.last_reason(), Reason::Fallback);
    }

    #[test]
    fn named_worker_is_used_or_none() {
        let mut bench = TestBench::new(Box::new(ConsistentHashing::default()), 3);
        bench.hold(2, 9);
        assert_eq!(bench.send_as(&to(2)), 2);
        assert_eq!(bench.last_reason(), Reason::TargetWorker);
        let mut refused = |request: &RequestFeatures<'_>, tried: &[crate::WorkerId]| {
            bench.balancer.dispatch(Time::ZERO, request, tried, ExplainLevel::None).err()
        };
        assert_eq!(refused(&to(3), &[]), Some(NoWorker), "no worker has that slot");
        let second = crate::WorkerId::new(2, 1);
        assert_eq!(refused(&to(2), &[second]), Some(NoWorker), "a retry does not go elsewhere");
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(second, false));
        let refused = bench.balancer.dispatch(Time::ZERO, &to(2), &[], ExplainLevel::None).err();
        assert_eq!(refused, Some(NoWorker), "nor does one whose worker is ill");
    }

    #[test]
    fn changed_weight_counts_from_then_on() {
        let mut bench = TestBench::new(Box::new(ConsistentHashing::default()), 2);
        let capacity =
            WorkerCapacity { weight: 0.0, priority: 50, max_running_requests: None, max_total_tokens: None };
        bench.balancer.apply(Time::ZERO, FleetUpdate::Capacity(bench.ids[0], capacity));
        assert!((0..40).all(|key| bench.send_as(&keyed(key)) == 1));
        let capacity = WorkerCapacity { weight: 1.0, ..capacity };
        bench.balancer.apply(Time::ZERO, FleetUpdate::Capacity(bench.ids[0], capacity));
        assert!((0..40).any(|key| bench.send_as(&keyed(key)) == 0));
    }

    #[test]
    fn shadow_needs_do_not_bind_live_policy() {
        let mut bench = TestBench::new(Box::new(super::super::RoundRobin::default()), 3);
        bench.balancer.add_shadow(Time::ZERO, Box::new(ConsistentHashing::default()), 1);
        let routed = bench.balancer.dispatch(Time::ZERO, &to(2), &[], ExplainLevel::None).unwrap();
        assert_eq!(routed.decision.worker.slot(), 0);
        assert_eq!(routed.shadows[0].decision.worker.slot(), 2);
        let _unfinished = routed.ticket;
    }
}
