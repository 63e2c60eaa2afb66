//! Workers in the order of a cost that changes with events: the best few are found without a look at all of them.
//!
//! A tournament tree (Knuth, "The Art of Computer Programming" vol. 3, 5.4.1): each inner node has the better of the two
//! below it. A changed cost takes one comparison per level, and so does each further worker of the best few.

use crate::WorkerId;
use std::cmp::Ordering;

const NOBODY: u32 = u32::MAX;
/// Up to so many candidates are all compared, without a ranking.
pub(crate) const COMPARE_ALL: usize = 128;
/// Most workers that [`Ranking::best`] finds.
pub(crate) const MOST_FOUND: usize = 12;

/// What decides between two workers: the lower cost, then the lower rank, then chance.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Key {
    cost: f64,
    rank: u32,
    /// Changes with each update, so that workers at equal cost take turns at random.
    salt: u32,
}

impl Key {
    const NONE: Self = Self { cost: f64::INFINITY, rank: u32::MAX, salt: u32::MAX };

    fn beats(&self, other: &Self) -> bool {
        match self.cost.total_cmp(&other.cost) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => (self.rank, self.salt) < (other.rank, other.salt),
        }
    }
}

/// Workers and their costs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranking {
    /// By slot.
    keys: Vec<Key>,
    ids: Vec<Option<WorkerId>>,
    /// Slots, or [`NOBODY`]: the winner of node `i` is the better of nodes `2i` and `2i + 1`; the second half are the leaves.
    winners: Vec<u32>,
    updates: u64,
}

/// A part of the tree whose winner may be the next best.
#[derive(Clone, Copy, Debug)]
struct Contest {
    node: u32,
    key: Key,
}

impl Ranking {
    /// Sets the cost of a worker; lower is better. Equal costs are decided by the lower rank.
    pub(crate) fn set(&mut self, worker: WorkerId, cost: f64, rank: u32) {
        let slot = worker.slot();
        if slot >= self.keys.len() {
            self.grow(slot + 1);
        }
        self.updates += 1;
        // The high half of the product changes in all its bits with each update (Fibonacci hashing).
        let salt = (self.updates.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
        self.keys[slot] = Key { cost, rank, salt };
        self.ids[slot] = Some(worker);
        self.replay(slot, slot as u32);
    }

    /// Takes a worker out; a later worker in its slot stays.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        let slot = worker.slot();
        if self.ids.get(slot) == Some(&Some(worker)) {
            self.ids[slot] = None;
            self.keys[slot] = Key::NONE;
            self.replay(slot, NOBODY);
        }
    }

    /// Adds the best workers that `admit` accepts to `found`: up to `most` of them, out of the best [`MOST_FOUND`].
    pub(crate) fn best(&self, most: usize, found: &mut Vec<WorkerId>, admit: impl Fn(WorkerId) -> bool) {
        // Best first. More parts than workers wanted are never needed.
        let mut contests = [Contest { node: 0, key: Key::NONE }; MOST_FOUND];
        let mut open = 0;
        let mut left = most;
        self.open(1, &mut contests, &mut open);
        let mut seen = 0;
        while open > 0 && left > 0 && seen < MOST_FOUND {
            let mut node = contests[0].node as usize;
            contests.copy_within(1..open, 0);
            open -= 1;
            seen += 1;
            let slot = self.winners[node];
            let leaves = self.winners.len() / 2;
            while node < leaves {
                let left = 2 * node;
                let won = if self.winners[left] == slot { left } else { left + 1 };
                self.open(won ^ 1, &mut contests, &mut open);
                node = won;
            }
            if let Some(worker) = self.ids[slot as usize].filter(|id| admit(*id)) {
                found.push(worker);
                left -= 1;
            }
        }
    }

    /// Adds a part of the tree to the contests, unless there are enough better ones.
    fn open(&self, node: usize, contests: &mut [Contest; MOST_FOUND], open: &mut usize) {
        let Some(&slot) = self.winners.get(node).filter(|slot| **slot != NOBODY) else { return };
        let key = self.keys[slot as usize];
        if *open == MOST_FOUND {
            if !key.beats(&contests[MOST_FOUND - 1].key) {
                return;
            }
            *open -= 1;
        }
        let place = contests[..*open].partition_point(|c| c.key.beats(&key));
        contests.copy_within(place..*open, place + 1);
        contests[place] = Contest { node: node as u32, key };
        *open += 1;
    }

    /// Decides the contests of one leaf anew, up to the root.
    fn replay(&mut self, slot: usize, winner: u32) {
        let mut node = self.winners.len() / 2 + slot;
        self.winners[node] = winner;
        while node > 1 {
            node /= 2;
            let before = self.winners[node];
            let after = self.winner(node);
            self.winners[node] = after;
            if before == after && after != slot as u32 {
                // The contest is between the same two as before, and so are those above.
                return;
            }
        }
    }

    fn winner(&self, node: usize) -> u32 {
        let (a, b) = (self.winners[2 * node], self.winners[2 * node + 1]);
        if a == NOBODY || (b != NOBODY && self.keys[b as usize].beats(&self.keys[a as usize])) {
            b
        } else {
            a
        }
    }

    fn grow(&mut self, slots: usize) {
        let leaves = slots.next_power_of_two().max(4);
        self.keys.resize(leaves, Key::NONE);
        self.ids.resize(leaves, None);
        self.winners.clear();
        self.winners.resize(2 * leaves, NOBODY);
        for slot in 0..leaves {
            if self.ids[slot].is_some() {
                self.winners[leaves + slot] = slot as u32;
            }
        }
        for node in (1..leaves).rev() {
            self.winners[node] = self.winner(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn worker(slot: u32) -> WorkerId {
        WorkerId::new(slot, 1)
    }

    fn best(ranking: &Ranking, most: usize) -> Vec<usize> {
        let mut found = Vec::new();
        ranking.best(most, &mut found, |_| true);
        found.into_iter().map(WorkerId::slot).collect()
    }

    #[test]
    fn lower_rank_decides_between_equal_costs() {
        let mut ranking = Ranking::default();
        for (slot, rank) in [(0, 5), (1, 3), (2, 4)] {
            ranking.set(worker(slot), 1.0, rank);
        }
        ranking.set(worker(3), 2.0, 0);
        assert_eq!(best(&ranking, 9), [1, 2, 0, 3]);
    }

    #[test]
    fn equal_workers_take_turns() {
        let mut ranking = Ranking::default();
        (0..1000).for_each(|slot| ranking.set(worker(slot), 1.0, 0));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let first = best(&ranking, 1)[0];
            seen.insert(first);
            ranking.set(worker(first as u32), 1.0, 0);
        }
        assert!(seen.len() > 300, "{}", seen.len());
    }

    #[test]
    fn a_successor_is_not_removed() {
        let mut ranking = Ranking::default();
        ranking.set(worker(0), 1.0, 0);
        ranking.set(WorkerId::new(0, 2), 2.0, 0);
        ranking.remove(worker(0));
        assert_eq!(best(&ranking, 1), [0]);
        ranking.remove(WorkerId::new(0, 2));
        assert!(best(&ranking, 1).is_empty());
    }

    proptest! {
        /// Against a sorted list.
        #[test]
        fn finds_what_sorting_finds(
            steps in prop::collection::vec((0_u32..40, prop::option::weighted(0.8, 0_u32..12)), 0..200),
            most in 1_usize..20,
            refused in 0_u32..6,
        ) {
            let mut ranking = Ranking::default();
            let mut naive = std::collections::BTreeMap::new();
            for (slot, cost) in steps {
                match cost {
                    Some(cost) => {
                        ranking.set(worker(slot), f64::from(cost), 0);
                        naive.insert(slot, cost);
                    }
                    None => {
                        ranking.remove(worker(slot));
                        naive.remove(&slot);
                    }
                }
            }
            let mut found = Vec::new();
            ranking.best(most, &mut found, |id| id.slot() as u32 % 7 != refused);
            let costs = |ids: &[WorkerId]| ids.iter().map(|id| naive[&(id.slot() as u32)]).collect::<Vec<_>>();
            let mut wanted: Vec<(u32, u32)> = naive.iter().map(|(slot, cost)| (*cost, *slot)).collect();
            wanted.sort_unstable();
            let accepted: Vec<u32> =
                wanted.iter().filter(|(_, slot)| slot % 7 != refused).map(|(cost, _)| *cost).collect();
            let found_costs = costs(&found);
            prop_assert!(accepted.starts_with(&found_costs));
            // Those refused count among the best.
            prop_assert!(found.len() >= most.min(accepted.len()).min(MOST_FOUND.saturating_sub(7)));
        }
    }
}
