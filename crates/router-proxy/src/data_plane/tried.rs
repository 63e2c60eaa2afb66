//! The workers that a request must not be sent to any more.

use crate::workers::{Worker, Workers};
use router_core::WorkerId;
use smallvec::SmallVec;
use std::ops::Deref;

/// The candidates that are left out of the next attempt.
///
/// A worker that fails does so with all its ranks, and an engine must not see a request's id twice at a time on any of
/// them. So the ranks beside the one that was tried are left out with it, until it turns out that it merely had no room.
#[derive(Debug, Default)]
pub(super) struct Tried {
    out: SmallVec<[WorkerId; 4]>,
    asked: SmallVec<[WorkerId; 4]>,
}

impl Deref for Tried {
    type Target = [WorkerId];

    fn deref(&self) -> &[WorkerId] {
        &self.out
    }
}

impl Tried {
    /// The worker is asked.
    pub(super) fn ask(&mut self, worker: &Worker, workers: &Workers) {
        self.asked.push(worker.id);
        if worker.rank.is_none() {
            self.out.push(worker.id);
        } else {
            self.out.extend(workers.of(worker).iter().map(|rank| rank.id));
        }
    }

    /// The worker had no room; its other ranks may have some.
    pub(super) fn relent(&mut self, worker: &Worker, workers: &Workers) {
        if worker.rank.is_some() {
            let ranks = workers.of(worker);
            let beside = |id: &WorkerId| !self.asked.contains(id) && ranks.iter().any(|rank| rank.id == *id);
            self.out.retain(|id| !beside(id));
        }
    }

    /// Those that were tried may be tried again.
    pub(super) fn clear(&mut self) {
        self.out.clear();
        self.asked.clear();
    }
}
