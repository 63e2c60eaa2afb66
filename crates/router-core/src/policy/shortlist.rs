//! The candidates that are compared where there are too many to look at each.

use super::DecisionContext;
use crate::WorkerId;
use crate::fleet::Candidates;
use crate::ranking::COMPARE_ALL;

/// Candidates with the least load on a shortlist.
const LEAST_LOADED: usize = 8;
/// Candidates drawn at random for a shortlist: with 32 the best of them is among the best tenth of the fleet in 29 of 30
/// decisions, whatever the policy looks at.
const DRAWN: usize = 32;
/// The same for a policy with a ranking of its own, which may be out of date for a worker without events.
const DRAWN_BESIDE_RANKING: usize = 8;
/// Workers of the policy's own choosing on a shortlist, such as those that hold a part of the prompt.
const ALSO_COMPARED: usize = 32;

impl DecisionContext<'_> {
    /// The same decision among a few of the candidates, where there are more than 128: those with the least load, some drawn at
    /// random, and the first of those in `also` (docs/policies/README.md). To be called before candidates are compared.
    pub fn shortlist(self, also: impl Iterator<Item = WorkerId>) -> Self {
        self.narrow(DRAWN, |all, found| all.least_loaded(LEAST_LOADED, found), also)
    }

    /// As [`shortlist`](Self::shortlist), with the `best` candidates that the policy knows in place of those with the least load.
    pub fn shortlist_of(self, best: &[WorkerId], also: impl Iterator<Item = WorkerId>) -> Self {
        let known = |all: &Candidates<'_>, found: &mut Vec<WorkerId>| {
            found.extend(best.iter().filter(|id| all.contains(**id)));
        };
        self.narrow(DRAWN_BESIDE_RANKING, known, also)
    }

    fn narrow(
        self,
        drawn: usize,
        best: impl FnOnce(&Candidates<'_>, &mut Vec<WorkerId>),
        also: impl Iterator<Item = WorkerId>,
    ) -> Self {
        let all = self.candidates;
        if all.len() <= COMPARE_ALL {
            return self;
        }
        let Self { room: Some(room), rng, .. } = self else { return self };
        room.clear();
        best(&all, room);
        room.extend((0..drawn).map(|_| all.id(rng.below(all.len()))));
        room.extend(also.filter(|id| all.contains(*id)).take(ALSO_COMPARED));
        room.sort_unstable();
        room.dedup();
        let candidates = all.among(room).unwrap_or(all);
        Self { candidates, rng, room: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{LeastRequest, LeastRequestConfig};
    use crate::testing::TestBench;
    use crate::{Balancer, ExplainLevel, FleetUpdate, RequestFeatures, Time, WorkerInfo};

    fn bench(workers: usize) -> TestBench {
        TestBench::new(Box::new(LeastRequest::new(LeastRequestConfig::default()).unwrap()), workers)
    }

    #[test]
    fn every_candidate_of_a_small_fleet_is_compared() {
        assert_eq!(bench(COMPARE_ALL).ask().scores.len(), COMPARE_ALL);
        let compared = bench(COMPARE_ALL + 1).ask().scores.len();
        assert!((LEAST_LOADED..=LEAST_LOADED + DRAWN).contains(&compared), "{compared}");
    }

    #[test]
    fn least_loaded_worker_of_a_thousand_is_found() {
        let mut bench = bench(1000);
        let sent = bench.send_many(999);
        let mut workers: Vec<_> = sent.iter().collect();
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 999, "nobody gets a second request before all have one");
        let last = bench.send();
        assert!(!sent.contains(&last));
    }

    #[test]
    fn only_candidates_are_on_the_list() {
        let mut balancer =
            Balancer::new(Box::new(LeastRequest::new(LeastRequestConfig::default()).unwrap()), 1);
        let ids: Vec<_> = (0..1000)
            .map(|i| balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://worker-{i}"))))
            .collect();
        for id in &ids[..300] {
            balancer.apply(Time::ZERO, FleetUpdate::Routable(*id, false));
        }
        for _ in 0..100 {
            let request = RequestFeatures::default();
            let routed = balancer.dispatch(Time::ZERO, &request, &ids[300..320], ExplainLevel::All).unwrap();
            assert_eq!(routed.snapshot.candidates, 680);
            assert!(routed.scores.iter().all(|score| !ids[..320].contains(&score.worker)));
            balancer.finish(Time::ZERO, routed.ticket, crate::AttemptResult::of(crate::Outcome::Success));
        }
    }
}
