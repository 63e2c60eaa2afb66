//! All candidates of one pool, by slot.

use crate::candidate::Candidate;
use crate::health::HealthState;
use crate::worker::Worker;
use arc_swap::ArcSwap;
use router_config::WorkerUrl;
use router_core::WorkerId;
use router_telemetry::WorkerDirectory;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The workers by slot, and beside them what records need of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) candidates: Vec<Option<Arc<Candidate>>>,
    directory: WorkerDirectory,
}

impl Table {
    fn new(candidates: Vec<Option<Arc<Candidate>>>) -> Self {
        let telemetry = |worker: &Option<Arc<Candidate>>| worker.as_ref().map(|w| Arc::clone(&w.telemetry));
        Self { directory: Arc::new(candidates.iter().map(telemetry).collect()), candidates }
    }
}

/// All workers, by slot. Reading takes no lock.
#[derive(Debug, Default)]
pub struct CandidateTable {
    pub(crate) table: ArcSwap<Table>,
    /// The latest moment until which some worker is spared, in nanoseconds of the router's clock.
    pub(crate) busy_until: AtomicU64,
}

impl CandidateTable {
    /// Adds a worker, replacing whoever held its slot.
    pub fn insert(&self, worker: &Arc<Candidate>) {
        self.table.rcu(|old| {
            let mut table = old.candidates.clone();
            let slot = worker.id.slot();
            if table.len() <= slot {
                table.resize(slot + 1, None);
            }
            table[slot] = Some(Arc::clone(worker));
            Table::new(table)
        });
    }

    /// Takes a worker out; an heir in its slot is left alone.
    pub fn remove(&self, id: WorkerId) {
        self.table.rcu(|old| {
            let mut table = old.candidates.clone();
            if let Some(entry) = table.get_mut(id.slot())
                && entry.as_ref().is_some_and(|w| w.id == id)
            {
                *entry = None;
            }
            Table::new(table)
        });
    }

    /// The worker `id`, unless it left.
    pub fn get(&self, id: WorkerId) -> Option<Arc<Candidate>> {
        self.table.load().candidates.get(id.slot())?.as_ref().filter(|w| w.id == id).map(Arc::clone)
    }

    /// What records need of all workers there are now.
    pub fn directory(&self) -> WorkerDirectory {
        Arc::clone(&self.table.load().directory)
    }

    /// All workers, by slot.
    pub fn all(&self) -> Vec<Arc<Candidate>> {
        self.table.load().candidates.iter().flatten().map(Arc::clone).collect()
    }

    /// The candidates of one worker, by slot.
    pub fn of(&self, worker: &Arc<Worker>) -> Vec<Arc<Candidate>> {
        let table = self.table.load();
        table.candidates.iter().flatten().filter(|w| Arc::ptr_eq(&w.worker, worker)).map(Arc::clone).collect()
    }

    /// Every worker once, however many ranks it has.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let mut workers: Vec<Arc<Worker>> = Vec::new();
        for worker in self.table.load().candidates.iter().flatten() {
            if !workers.iter().any(|known| Arc::ptr_eq(known, &worker.worker)) {
                workers.push(Arc::clone(&worker.worker));
            }
        }
        workers
    }
}

impl CandidateTable {
    /// The candidate of the worker at `url` that is not leaving; the first of its ranks.
    pub fn find_active(&self, url: &WorkerUrl) -> Option<Arc<Candidate>> {
        self.all().into_iter().find(|c| c.worker.url == *url && c.health() != HealthState::Draining)
    }
}
