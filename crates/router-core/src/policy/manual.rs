//! `manual`: a routing key stays on the worker that it was assigned to.

use super::sample::by_weight;
use super::{InvalidOption, load_terms};
use crate::key_table::KeyTable;
use crate::worker_view::WorkerView;
use crate::{
    Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, ScoreTerms, SlotMap, Time, WorkerId,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a new key is assigned to a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssignmentMode {
    /// At random, with a probability in proportion to the weight.
    #[default]
    Random,
    /// To the worker with the fewest requests in flight for its weight.
    MinLoad,
    /// To the worker with the fewest keys for its weight.
    MinGroup,
}

/// The options of [`Manual`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ManualConfig {
    /// Seconds without a request after which a key is forgotten; 0 is never. Default 14400, four hours.
    pub max_idle_secs: u64,
    /// How a new key finds its worker: `random`, `min_load` or `min_group`. Default `random`.
    pub assignment_mode: AssignmentMode,
    /// Most keys that are remembered; beyond that the one used longest ago goes. About 70 bytes each.
    /// Default 1048576; 1 to 67108864.
    pub max_keys: usize,
}

impl Default for ManualConfig {
    fn default() -> Self {
        Self { max_idle_secs: 14_400, assignment_mode: AssignmentMode::Random, max_keys: 1 << 20 }
    }
}

/// The workers of a key.
#[derive(Clone, Copy, Debug)]
struct KeyAssignment {
    /// The worker that it was assigned to first.
    first: WorkerId,
    /// The one that stood in for it last; the same when none has.
    second: WorkerId,
    /// The one that served it last, which counts it.
    served: WorkerId,
    used_at: Time,
}

/// Keeps each routing key on its worker until that one is gone or the key has been idle for long.
///
/// While its worker may not be chosen, a second one stands in; the key returns when the first is back.
#[derive(Clone, Debug)]
pub struct Manual {
    config: ManualConfig,
    assignments: KeyTable<KeyAssignment>,
    /// Keys that each worker served last.
    keys: SlotMap<u32>,
    /// No weight is or was higher.
    most_weight: f64,
}

impl Manual {
    /// A policy with these options. The memory of its table is reserved here.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: ManualConfig) -> Result<Self, InvalidOption> {
        if !(1..=1 << 26).contains(&config.max_keys) {
            return Err(InvalidOption::must("max_keys", "from 1 to 67108864", config.max_keys));
        }
        Ok(Self {
            config,
            assignments: KeyTable::new(config.max_keys),
            keys: SlotMap::default(),
            most_weight: 0.0,
        })
    }

    fn is_idle(&self, assignment: &KeyAssignment, now: Time) -> bool {
        let most = Duration::from_secs(self.config.max_idle_secs);
        !most.is_zero() && now.since(assignment.used_at) >= most
    }

    fn keys_on(&self, worker: WorkerId) -> f64 {
        self.keys.get(worker).map_or(0.0, |&keys| f64::from(keys))
    }

    fn terms(&self, w: &WorkerView<'_>) -> ScoreTerms {
        load_terms(w).and("keys", self.keys_on(w.id))
    }

    /// A worker for a request that is bound to none.
    fn assign(&self, cx: DecisionContext<'_>) -> Decision {
        let terms = |w: &WorkerView<'_>| self.terms(w);
        match self.config.assignment_mode {
            AssignmentMode::Random => {
                let candidates = cx.candidates;
                let weight = |id| candidates.get(id).map_or(0.0, |w| w.weight());
                match by_weight(candidates, cx.rng, self.most_weight, weight) {
                    Some(id) if candidates.len() > 1 => Decision::plain(id, Reason::Sampled),
                    _ => cx.least_loaded(Reason::Fallback, terms),
                }
            }
            AssignmentMode::MinLoad => cx.least_loaded(Reason::LoadBased, terms),
            AssignmentMode::MinGroup => {
                let mut cx = cx.shortlist(std::iter::empty());
                cx.lowest(Reason::LowestCost, |w| w.per_weight(self.keys_on(w.id) + 1.0), terms)
            }
        }
    }

    fn count(&mut self, worker: WorkerId, change: i32) {
        if let Some(keys) = self.keys.get_mut(worker) {
            *keys = keys.saturating_add_signed(change);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(assignment) = self.assignments.pop_oldest() {
            self.count(assignment.served, -1);
        }
    }

    fn served(&mut self, now: Time, worker: WorkerId, key: u64) {
        let old = self.assignments.get(key).copied();
        let assignment = match old {
            Some(old) if old.first == worker || old.second == worker => {
                KeyAssignment { served: worker, used_at: now, ..old }
            }
            // As in the SGLang router: the two that served it last are kept, the older one goes first.
            Some(old) => KeyAssignment { first: old.second, second: worker, served: worker, used_at: now },
            None => KeyAssignment { first: worker, second: worker, served: worker, used_at: now },
        };
        match old {
            Some(old) => self.count(old.served, -1),
            None if self.assignments.is_full() => self.forget_oldest(),
            None => {}
        }
        self.count(worker, 1);
        self.assignments.put(key, assignment);
    }
}

impl Policy for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { routing_key: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let Some(key) = cx.request.routing_key else {
            let only = cx.candidates.len() == 1;
            let decision = self.assign(cx);
            return decision.because(if only { Reason::OnlyCandidate } else { Reason::Fallback });
        };
        let assignment = self.assignments.get(key).filter(|assignment| !self.is_idle(assignment, cx.now));
        let owner =
            assignment.and_then(|h| [h.first, h.second].into_iter().find(|&id| cx.candidates.contains(id)));
        match owner {
            Some(owner) => cx.keyed(owner, Reason::KeyAffinity, |w| self.terms(w)),
            None => self.assign(cx),
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        while self.assignments.oldest().is_some_and(|assignment| self.is_idle(assignment, now)) {
            self.forget_oldest();
        }
        match event {
            Event::Joined { worker, info } => {
                self.keys.insert(*worker, 0);
                self.most_weight = self.most_weight.max(info.share());
            }
            Event::Changed { info, .. } => self.most_weight = self.most_weight.max(info.share()),
            Event::Left(worker) => drop(self.keys.remove(*worker)),
            Event::Dispatched { worker, request } => {
                if let Some(key) = request.routing_key {
                    self.served(now, *worker, key);
                }
            }
            _ => (),
        }
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        report("routing_keys", self.assignments.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, RequestFeatures, WorkerInfo};

    fn bench(config: ManualConfig, workers: usize) -> TestBench {
        TestBench::new(Box::new(Manual::new(config).unwrap()), workers)
    }

    fn keyed(key: u64) -> RequestFeatures<'static> {
        RequestFeatures { routing_key: Some(key), ..RequestFeatures::default() }
    }

    fn counts(bench: &mut TestBench, keys: u64) -> Vec<usize> {
        let sent: Vec<_> = (0..keys).map(|key| bench.send_as(&keyed(key))).collect();
        (0..bench.ids.len()).map(|w| sent.iter().filter(|&&s| s == w).count()).collect()
    }

    #[test]
    fn key_stays_when_workers_join() {
        let mut bench = bench(ManualConfig::default(), 3);
        let first: Vec<_> = (0..60).map(|key| bench.send_as(&keyed(key))).collect();
        bench.join();
        bench.hold(first[0], 40);
        assert_eq!((0..60).map(|key| bench.send_as(&keyed(key))).collect::<Vec<_>>(), first);
        assert_eq!(bench.last_reason(), Reason::KeyAffinity);
    }

    #[test]
    fn key_returns_with_its_worker() {
        let mut bench = bench(ManualConfig::default(), 3);
        let first = bench.send_as(&keyed(7));
        bench.balancer.apply(bench.now, FleetUpdate::Routable(bench.ids[first], false));
        let second = bench.send_as(&keyed(7));
        assert_ne!(second, first);
        assert_eq!(bench.send_as(&keyed(7)), second, "who stands in keeps it meanwhile");
        bench.balancer.apply(bench.now, FleetUpdate::Routable(bench.ids[first], true));
        assert_eq!(bench.send_as(&keyed(7)), first);
    }

    #[test]
    fn an_idle_key_is_forgotten() {
        let config =
            ManualConfig { max_idle_secs: 10, assignment_mode: AssignmentMode::MinLoad, max_keys: 8 };
        let mut bench = bench(config, 2);
        let first = bench.send_as(&keyed(1));
        bench.now = Time::from_secs_f64(9.0);
        assert_eq!(bench.send_as(&keyed(1)), first, "and every use restarts the idle time");
        bench.now = Time::from_secs_f64(18.0);
        assert_eq!(bench.send_as(&keyed(1)), first);
        bench.now = Time::from_secs_f64(29.0);
        assert_ne!(bench.send_as(&keyed(1)), first, "the other has less in flight");
    }

    #[test]
    fn full_table_evicts_least_recently_used() {
        let config =
            ManualConfig { assignment_mode: AssignmentMode::MinLoad, max_keys: 2, ..ManualConfig::default() };
        let mut bench = bench(config, 2);
        let first = bench.send_as(&keyed(1));
        bench.send_as(&keyed(2));
        bench.send_as(&keyed(1));
        bench.send_as(&keyed(3));
        assert_eq!(bench.send_as(&keyed(1)), first, "key 2 made room");
        let mut keys = 0.0;
        bench.balancer.gauges(&mut |_, value| keys = value);
        assert_eq!(keys, 2.0);
    }

    #[test]
    fn assignment_modes_heed_the_weight() {
        for (mode, reason) in [
            (AssignmentMode::Random, Reason::Sampled),
            (AssignmentMode::MinLoad, Reason::LoadBased),
            (AssignmentMode::MinGroup, Reason::LowestCost),
        ] {
            let mut bench = bench(ManualConfig { assignment_mode: mode, ..ManualConfig::default() }, 1);
            bench.join_as(WorkerInfo { weight: 3.0, ..WorkerInfo::new("http://big") });
            let counts = counts(&mut bench, 400);
            assert!((260..340).contains(&counts[1]), "{mode:?}: {counts:?}");
            assert_eq!(bench.last_reason(), reason);
        }
    }

    #[test]
    fn groups_are_counted_by_key() {
        let mode = AssignmentMode::MinGroup;
        let mut bench = bench(ManualConfig { assignment_mode: mode, ..ManualConfig::default() }, 2);
        let busy = bench.send_as(&keyed(0));
        assert!((0..9).all(|_| bench.send_as(&keyed(0)) == busy));
        assert_ne!(bench.send_as(&keyed(1)), busy);
        let third = bench.send_as(&keyed(2));
        let fourth = bench.send_as(&keyed(3));
        assert_ne!(third, fourth, "one key each, although one has ten requests in flight");
    }

    #[test]
    fn without_key_falls_back() {
        let mut bench = bench(ManualConfig::default(), 2);
        bench.send();
        assert_eq!(bench.last_reason(), Reason::Fallback);
    }
}
