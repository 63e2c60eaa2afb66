//! A hash ring that maps keys to workers; when workers come and go, few keys move.

use crate::fleet::Candidates;
use crate::{Event, Rng, WorkerId, WorkerInfo};

/// Points on the ring for a worker of weight 1 (as in vllm-router).
const POINTS: f64 = 160.0;
/// A worker has at most as many points as this many workers of weight 1.
const MOST: f64 = 64.0;

/// The ring. Where a worker's points lie follows from its URL alone, so routers that share a fleet agree.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashRing {
    /// In ascending order, once `is_sorted`.
    points: Vec<(u64, WorkerId)>,
    is_sorted: bool,
}

impl HashRing {
    /// Adds a worker, with points in proportion to its weight; none at weight 0.
    fn join(&mut self, worker: WorkerId, info: &WorkerInfo) {
        let weight = if info.weight > 0.0 { info.weight.min(MOST) } else { 0.0 };
        let points = if weight > 0.0 { (POINTS * weight).round().max(1.0) as usize } else { 0 };
        let mut hashes = Rng::seeded(hash(info.url.trim_end_matches('/')));
        self.points.extend((0..points).map(|_| (hashes.next_u64(), worker)));
        // Many workers may join before the next request.
        self.is_sorted = false;
    }

    /// Applies an event to the ring.
    pub(crate) fn observe(&mut self, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } => self.join(*worker, info),
            Event::Changed { worker, info } => {
                self.leave(*worker);
                self.join(*worker, info);
            }
            Event::Left(worker) => self.leave(*worker),
            _ => (),
        }
    }

    /// Removes a worker.
    fn leave(&mut self, worker: WorkerId) {
        self.points.retain(|&(_, owner)| owner != worker);
    }

    /// The candidate that owns `key`: that of the next point. Absent when no candidate has a point.
    pub(crate) fn owner(&mut self, key: u64, candidates: Candidates<'_>) -> Option<WorkerId> {
        if !self.is_sorted {
            // A stable sort merges the new points into those that are in order.
            self.points.sort();
            self.is_sorted = true;
        }
        if candidates.iter().all(|w| w.weight() == 0.0) {
            return None;
        }
        // Keys may come unhashed, from callers of this crate.
        let key = Rng::seeded(key).next_u64();
        let (before, after) = self.points.split_at(self.points.partition_point(|&(at, _)| at < key));
        let mut owners = after.iter().chain(before).map(|&(_, owner)| owner);
        owners.find(|&owner| candidates.contains(owner))
    }
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo): the same on every platform and in every version.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;

    fn world(weights: &[f64]) -> (Fleet, HashRing) {
        let (mut fleet, mut ring) = (Fleet::default(), HashRing::default());
        for (i, &weight) in weights.iter().enumerate() {
            let info = WorkerInfo { weight, ..WorkerInfo::new(&format!("http://10.0.0.{i}:30000")) };
            ring.join(fleet.join(info.clone()), &info);
        }
        (fleet, ring)
    }

    fn owners(fleet: &Fleet, ring: &mut HashRing) -> Vec<usize> {
        let mut room = Vec::new();
        let candidates = fleet.candidates(&[], None, &mut room).unwrap();
        (0..20_000).map(|key| ring.owner(key, candidates).unwrap().slot()).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let (fleet, mut ring) = world(&[1.0, 1.0, 2.0, 0.0]);
        let owners = owners(&fleet, &mut ring);
        let shares = [0, 1, 2, 3].map(|w| owners.iter().filter(|&&o| o == w).count());
        assert!((4200..5800).contains(&shares[0]) && (4200..5800).contains(&shares[1]), "{shares:?}");
        assert!((9000..11_000).contains(&shares[2]) && shares[3] == 0, "{shares:?}");
    }

    #[test]
    fn only_keys_of_missing_worker_move() {
        let (mut fleet, mut ring) = world(&[1.0; 4]);
        let before = owners(&fleet, &mut ring);
        let missing = fleet.routable()[1];
        fleet.set_routable(missing, false);
        let without = owners(&fleet, &mut ring);
        assert!(before.iter().zip(&without).all(|(b, w)| b == w || *b == 1));
        assert!(without.iter().all(|&w| w != 1));
        fleet.set_routable(missing, true);
        assert_eq!(owners(&fleet, &mut ring), before);
    }

    #[test]
    fn returning_worker_has_its_keys_again() {
        let (mut fleet, mut ring) = world(&[1.0; 3]);
        let before = owners(&fleet, &mut ring);
        let left = fleet.routable()[2];
        fleet.leave(left);
        ring.leave(left);
        assert!(owners(&fleet, &mut ring).iter().all(|&w| w != 2));
        let info = WorkerInfo::new("http://10.0.0.2:30000/");
        ring.join(fleet.join(info.clone()), &info);
        assert_eq!(owners(&fleet, &mut ring), before);
    }
}
