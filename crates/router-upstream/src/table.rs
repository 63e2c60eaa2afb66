//! All candidates of one pool, by slot.

use crate::candidate::Candidate;
use crate::health::HealthState;
use crate::worker::Worker;
use arc_swap::ArcSwap;
use router_config::WorkerUrl;
use router_core::WorkerId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// All candidates of a pool, by slot. Reading takes no lock.
#[derive(Debug, Default)]
pub struct CandidateTable {
    pub(crate) table: ArcSwap<Vec<Option<Arc<Candidate>>>>,
    /// How many of them are reached by gRPC alone.
    grpc_only: AtomicUsize,
    /// End of the longest cool-down, in nanoseconds of the router's clock.
    pub(crate) busy_until: AtomicU64,
}

impl CandidateTable {
    /// Adds candidates; each replaces what its slot held.
    pub fn insert(&self, new: &[Arc<Candidate>]) {
        self.table.rcu(|old| {
            let mut table = Vec::clone(old);
            for candidate in new {
                let slot = candidate.id.slot();
                if table.len() <= slot {
                    table.resize(slot + 1, None);
                }
                table[slot] = Some(Arc::clone(candidate));
            }
            table
        });
        self.count_grpc();
        for candidate in new {
            let mut ids = candidate.worker.candidate_ids.lock();
            ids.push(candidate.id);
            ids.sort_unstable_by_key(|id| id.slot());
        }
    }

    /// Removes candidates. The slot of one may already hold a newer one, which stays.
    pub fn remove(&self, leaving: &[Arc<Candidate>]) {
        for candidate in leaving {
            candidate.worker.candidate_ids.lock().retain(|of_worker| *of_worker != candidate.id);
        }
        self.table.rcu(|old| {
            let mut table = Vec::clone(old);
            for candidate in leaving {
                if let Some(entry) = table.get_mut(candidate.id.slot())
                    && entry.as_ref().is_some_and(|w| w.id == candidate.id)
                {
                    *entry = None;
                }
            }
            table
        });
        self.count_grpc();
    }

    fn count_grpc(&self) {
        let grpc_only = self.table.load().iter().flatten().filter(|c| c.worker.is_grpc_only()).count();
        self.grpc_only.store(grpc_only, Relaxed);
    }

    /// The candidates that cannot take this request while others can: those that are reached by gRPC alone, where SGLang's service has
    /// no call for it. `has_call` says whether it has; it is asked only where both kinds are there.
    pub fn without_call(&self, has_call: impl FnOnce() -> bool) -> Vec<WorkerId> {
        let grpc_only = self.grpc_only.load(Relaxed);
        if grpc_only == 0 {
            return Vec::new();
        }
        let table = self.table.load();
        let all = table.iter().flatten();
        if grpc_only == all.clone().count() || has_call() {
            return Vec::new();
        }
        all.filter(|c| c.worker.is_grpc_only()).map(|c| c.id).collect()
    }

    /// The candidate `id`, unless it left.
    pub fn get(&self, id: WorkerId) -> Option<Arc<Candidate>> {
        self.table.load().get(id.slot())?.as_ref().filter(|w| w.id == id).map(Arc::clone)
    }

    /// All candidates, by slot.
    pub fn all(&self) -> Vec<Arc<Candidate>> {
        self.table.load().iter().flatten().map(Arc::clone).collect()
    }

    /// The candidates of one worker, by slot.
    pub fn of(&self, worker: &Arc<Worker>) -> Vec<Arc<Candidate>> {
        worker.candidate_ids.lock().iter().filter_map(|id| self.get(*id)).collect()
    }

    /// How many slots there are: at least as many as candidates.
    pub(crate) fn slots(&self) -> usize {
        self.table.load().len()
    }

    /// Each worker once, also when it has several candidates.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let table = self.table.load();
        let first = |c: &&Arc<Candidate>| c.worker.candidate_ids.lock().first() == Some(&c.id);
        table.iter().flatten().filter(first).map(|c| Arc::clone(&c.worker)).collect()
    }
}

impl CandidateTable {
    /// The first candidate of the worker at `url` that is not draining.
    pub fn find_active(&self, url: &WorkerUrl) -> Option<Arc<Candidate>> {
        let table = self.table.load();
        let is_active = |c: &&Arc<Candidate>| c.worker.url == *url && c.health() != HealthState::Draining;
        table.iter().flatten().find(is_active).map(Arc::clone)
    }
}
