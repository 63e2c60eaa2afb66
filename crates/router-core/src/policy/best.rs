//! The lowest of a sequence of costs, found in one pass and without an allocation.

use crate::fleet::{Candidates, WorkerView};
use crate::{Decision, Reason, Rng, WorkerId};

/// One offer: who, at what cost, and what decides between equal costs (lower is better).
#[derive(Clone, Copy, Debug)]
struct Offer {
    worker: WorkerId,
    cost: f64,
    then: u64,
}

impl Offer {
    fn beats(&self, other: &Self) -> bool {
        self.cost < other.cost || (self.cost == other.cost && self.then < other.then)
    }

    fn ties(&self, other: &Self) -> bool {
        self.cost == other.cost && self.then == other.then
    }
}

/// The best offer so far, its runner-up, and a fair lot between ties.
#[derive(Debug, Default)]
pub(crate) struct Best {
    first: Option<Offer>,
    second: Option<Offer>,
    ties: u32,
}

impl Best {
    /// Takes one more candidate into account; between equal costs its priority decides.
    pub(crate) fn offer(&mut self, view: &WorkerView<'_>, cost: f64, rng: &mut Rng) {
        self.offer_then(view.id, (cost, view.rank()), rng);
    }

    /// As [`offer`](Self::offer), with a second key of its own.
    pub(crate) fn offer_then(&mut self, worker: WorkerId, (cost, then): (f64, u64), rng: &mut Rng) {
        let offer = Offer { worker, cost, then };
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

    /// Whether nobody has been offered.
    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The decision, falling back to the first candidate when nobody was offered.
    pub(crate) fn decide(self, candidates: Candidates<'_>, reason: Reason) -> Decision {
        let Some(first) = self.first else { return Decision::plain(candidates.first(), Reason::Fallback) };
        Decision {
            worker: first.worker,
            reason: if candidates.len() == 1 { Reason::OnlyCandidate } else { reason },
            cost: Some(first.cost),
            runner_up: self.second.map(|o| (o.worker, o.cost)),
            ties: self.ties,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best_of(costs: &[(f64, u64)], seed: u64) -> Best {
        let mut best = Best::default();
        let mut rng = Rng::seeded(seed);
        for (slot, &key) in costs.iter().enumerate() {
            best.offer_then(WorkerId::new(slot as u32, 1), key, &mut rng);
        }
        best
    }

    #[test]
    fn the_runner_up_is_the_second_lowest_in_any_order() {
        for costs in [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [3.0, 1.0, 2.0], [1.0, 3.0, 2.0]] {
            let best = best_of(&costs.map(|c| (c, 0)), 7);
            assert_eq!(best.first.map(|o| o.cost), Some(1.0), "{costs:?}");
            assert_eq!(best.second.map(|o| o.cost), Some(2.0), "{costs:?}");
            assert_eq!(best.ties, 1);
        }
    }

    #[test]
    fn the_second_key_decides_between_equal_costs_and_only_between_those() {
        let best = best_of(&[(1.0, 5), (1.0, 2), (0.5, 9), (0.5, 8)], 7);
        assert_eq!(best.first.map(|o| o.worker.slot()), Some(3));
        assert_eq!(best.second.map(|o| o.worker.slot()), Some(2));
    }

    #[test]
    fn a_tie_is_won_by_each_alike() {
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
