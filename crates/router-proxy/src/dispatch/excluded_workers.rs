//! The workers that a request must not be sent to any more.

use router_core::WorkerId;
use router_upstream::{Candidate, CandidateTable, Worker};
use smallvec::SmallVec;
use std::sync::Arc;

/// The candidates that are left out of the next attempt.
///
/// A worker that fails does so with all its ranks, and an engine must not see a request's id twice at a time on any of
/// them. So the other ranks of a worker are excluded with the one that was tried, until it turns out that it merely had
/// no room.
#[derive(Debug, Default)]
pub(crate) struct ExcludedWorkers {
    /// Those that cannot serve the request at all.
    unfit: SmallVec<[WorkerId; 4]>,
    excluded: SmallVec<[WorkerId; 4]>,
    tried: SmallVec<[WorkerId; 4]>,
}

impl ExcludedWorkers {
    /// All candidates but those of `worker` are unfit; none where it has left.
    pub(crate) fn all_but(worker: &Arc<Worker>, table: &CandidateTable) -> Self {
        let is_fit = |candidate: &Arc<Candidate>| Arc::ptr_eq(&candidate.worker, worker);
        let all = table.all();
        if !all.iter().any(is_fit) {
            return Self::default();
        }
        let unfit: SmallVec<_> = all.iter().filter(|c| !is_fit(c)).map(|c| c.id).collect();
        Self { excluded: unfit.clone(), unfit, tried: SmallVec::new() }
    }

    /// These candidates are unfit.
    pub(crate) fn without(unfit: &[WorkerId]) -> Self {
        let mut excluded = Self::default();
        excluded.add_unfit(unfit);
        excluded
    }

    /// These candidates are unfit, too.
    pub(crate) fn add_unfit(&mut self, unfit: &[WorkerId]) {
        self.unfit.extend_from_slice(unfit);
        self.excluded.extend_from_slice(unfit);
    }

    /// The excluded candidates.
    pub(crate) fn ids(&self) -> &[WorkerId] {
        &self.excluded
    }

    /// Excludes a candidate that is tried, and all ranks of its worker.
    pub(crate) fn exclude(&mut self, candidate: &Candidate, table: &CandidateTable) {
        self.tried.push(candidate.id);
        if candidate.rank.is_none() {
            self.excluded.push(candidate.id);
        } else {
            self.excluded.extend(table.of(&candidate.worker).iter().map(|rank| rank.id));
        }
    }

    /// Allows the ranks of the candidate's worker that were not tried themselves: it merely had no room.
    pub(crate) fn readmit_ranks(&mut self, candidate: &Candidate, table: &CandidateTable) {
        if candidate.rank.is_some() {
            let ranks = table.of(&candidate.worker);
            let is_other =
                |id: &WorkerId| !self.tried.contains(id) && ranks.iter().any(|rank| rank.id == *id);
            self.excluded.retain(|id| !is_other(id));
        }
    }

    /// Allows those again that were tried.
    pub(crate) fn clear(&mut self) {
        self.excluded.clone_from(&self.unfit);
        self.tried.clear();
    }
}
