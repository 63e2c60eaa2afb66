//! The weights of all workers side by side, each with a range of its own, to find the one at a point.

use crate::fleet::Candidates;
use crate::{Event, SlotMap, WorkerId};

/// The ranges, in id order. They are laid out anew when they are asked for after a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct WeightRanges {
    weights: SlotMap<f64>,
    /// Where each range ends; empty after a change.
    ends: Vec<(f64, WorkerId)>,
}

impl WeightRanges {
    /// Applies an event to the ranges.
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } | Event::Changed { worker, info } => {
                self.weights.insert(*worker, info.share());
            }
            Event::Left(worker) => drop(self.weights.remove(*worker)),
            _ => return,
        }
        self.ends.clear();
    }

    /// The sum of all weights.
    pub(crate) fn total(&mut self) -> f64 {
        if self.ends.is_empty() {
            let mut end = 0.0;
            for (worker, weight) in self.weights.iter().filter(|(_, weight)| **weight > 0.0) {
                end += weight;
                self.ends.push((end, worker));
            }
        }
        self.ends.last().map_or(0.0, |(end, _)| *end)
    }

    /// The worker in whose range `point` lies, or the next one that is a candidate; the last one beyond the end.
    pub(crate) fn owner(&self, point: f64, candidates: Candidates<'_>) -> WorkerId {
        let at = self.ends.partition_point(|(end, _)| *end <= point).min(self.ends.len().saturating_sub(1));
        let (before, after) = self.ends.split_at(at);
        let mut owners = after.iter().chain(before).map(|(_, worker)| *worker);
        owners.find(|worker| candidates.contains(*worker)).unwrap_or(candidates.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerInfo;
    use crate::fleet::Fleet;

    #[test]
    fn points_fall_to_the_next_candidate() {
        let (mut fleet, mut ranges) = (Fleet::default(), WeightRanges::default());
        let weights = [1.0, 0.0, 2.0, 1.0];
        let ids = weights.map(|weight| {
            let info = WorkerInfo { weight, ..WorkerInfo::new("http://worker") };
            let worker = fleet.join(info.clone());
            ranges.observe(&Event::Joined { worker, info: &info });
            worker
        });
        assert_eq!(ranges.total(), 4.0);
        let owner = |fleet: &Fleet, point: f64| {
            let mut room = Vec::new();
            ranges.owner(point, fleet.candidates(&[], None, &mut room).unwrap()).slot()
        };
        assert_eq!([0.5, 1.0, 2.9, 3.0, 9.0].map(|point| owner(&fleet, point)), [0, 2, 2, 3, 3]);
        fleet.set_routable(ids[2], false);
        fleet.set_routable(ids[3], false);
        assert_eq!(owner(&fleet, 2.0), 0, "the search goes on at the start");
    }
}
