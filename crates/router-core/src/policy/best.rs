//! The lowest of a sequence of costs, found in one pass and without an allocation.

use crate::fleet::Candidates;
use crate::worker_view::WorkerView;
use crate::{Decision, Reason, Rng, WorkerId};

/// One candidate, its cost, and its rank between equal costs; lower is better.
#[derive(Clone, Copy, Debug)]
struct ScoredCandidate {
    worker: WorkerId,
    cost: f64,
    rank: u64,
}

impl ScoredCandidate {
    fn beats(&self, other: &Self) -> bool {
        self.cost < other.cost || (self.cost == other.cost && self.rank < other.rank)
    }

    fn ties(&self, other: &Self) -> bool {
        self.cost == other.cost && self.rank == other.rank
    }
}

/// The best candidate so far, its runner-up, with ties broken at random.
#[derive(Debug, Default)]
pub(crate) struct BestCandidate {
    first: Option<ScoredCandidate>,
    second: Option<ScoredCandidate>,
    ties: u32,
}

impl BestCandidate {
    /// Takes one more candidate into account; of those at equal cost the one with the highest priority wins.
    pub(crate) fn offer(&mut self, view: &WorkerView<'_>, cost: f64, rng: &mut Rng) {
        self.offer_then(view.id, cost, u64::from(view.rank()), rng);
    }

    /// As [`offer`](Self::offer), with a rank of its own.
    pub(crate) fn offer_then(&mut self, worker: WorkerId, cost: f64, rank: u64, rng: &mut Rng) {
        let offer = ScoredCandidate { worker, cost, rank };
        let Some(first) = self.first else {
            self.first = Some(offer);
            self.ties = 1;
            return;
        };
        if offer.ties(&first) {
            self.ties += 1;
            // Reservoir sampling: the k-th tied candidate takes the lead with chance 1/k.
            let leads = rng.below(self.ties as usize) == 0;
            self.second = Some(if leads { first } else { offer });
            if leads {
                self.first = Some(offer);
            }
        } else if offer.beats(&first) {
            self.second = Some(first);
            self.first = Some(offer);
            self.ties = 1;
        } else if self.second.is_none_or(|second| offer.beats(&second)) {
            self.second = Some(offer);
        }
    }

    /// Whether no candidate has been offered.
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The decision, falling back to the first candidate when none was offered.
    pub(crate) fn decide(self, candidates: Candidates<'_>, reason: Reason) -> Decision {
        let Some(first) = self.first else { return Decision::plain(candidates.first(), Reason::Fallback) };
        Decision {
            worker: first.worker,
            reason: if candidates.len() == 1 { Reason::OnlyCandidate } else { reason },
            cost: Some(first.cost),
            runner_up: self.second.map(|o| (o.worker, o.cost)),
            ties: self.ties,
            predicted_cached_tokens: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(costs: &[(f64, u64)], seed: u64) -> BestCandidate {
        let mut best = BestCandidate::default();
        let mut rng = Rng::seeded(seed);
        for (slot, &(cost, rank)) in costs.iter().enumerate() {
            best.offer_then(WorkerId::new(slot as u32, 1), cost, rank, &mut rng);
        }
        best
    }

    #[test]
    fn runner_up_is_second_lowest() {
        for costs in [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [3.0, 1.0, 2.0], [1.0, 3.0, 2.0]] {
            let best = best_of(&costs.map(|c| (c, 0)), 7);
            assert_eq!(best.first.map(|o| o.cost), Some(1.0), "{costs:?}");
            assert_eq!(best.second.map(|o| o.cost), Some(2.0), "{costs:?}");
            assert_eq!(best.ties, 1);
        }
    }

    #[test]
    fn priority_decides_only_between_equal_costs() {
        let best = best_of(&[(1.0, 5), (1.0, 2), (0.5, 9), (0.5, 8)], 7);
        assert_eq!(best.first.map(|o| o.worker.slot()), Some(3));
        assert_eq!(best.second.map(|o| o.worker.slot()), Some(2));
    }

    #[test]
    fn ties_are_won_equally_often() {
        let mut wins = [0; 4];
        for seed in 0..4000 {
            let best = best_of(&[(2.0, 0), (1.0, 0), (1.0, 0), (1.0, 0)], seed);
            assert_eq!(best.ties, 3);
            wins[best.first.unwrap().worker.slot()] += 1;
            assert_eq!(best.second.unwrap().cost, 1.0);
        }
        assert_eq!(wins[0], 0);
        assert!(wins[1..].iter().all(|w| (1200..1470).contains(w)), "{wins:?}");
    }
}
