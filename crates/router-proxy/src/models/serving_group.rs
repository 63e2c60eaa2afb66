//! The workers of one model.

use crate::prefill_pool::PrefillPool;
use parking_lot::Mutex;
use router_config::WorkerKind;
use router_core::Time;
use router_upstream::{Candidate, HealthState, WorkerPool};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The workers of one model: a pool, or two where prefill and decode are apart.
#[derive(Debug)]
pub(crate) struct ServingGroup {
    /// The workers that serve requests; where prefill and decode are apart, those that decode.
    pub(crate) pool: Arc<WorkerPool>,
    /// The workers that prefill; absent where each worker does both.
    pub(crate) disaggregation: Option<PrefillPool>,
    /// Its records and metrics carry the model.
    is_announced: AtomicBool,
    /// When it was first seen without a worker.
    emptied_at: Mutex<Option<Time>>,
}

impl ServingGroup {
    pub(crate) fn new(pool: Arc<WorkerPool>, disaggregation: Option<PrefillPool>) -> Self {
        Self { pool, disaggregation, is_announced: AtomicBool::new(false), emptied_at: Mutex::new(None) }
    }

    /// The pools.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Arc<WorkerPool>> {
        std::iter::once(&self.pool).chain(self.disaggregation.as_ref().map(|split| &split.pool))
    }

    /// The pool to which a worker of this kind belongs, if there is one.
    pub(crate) fn pool_of(&self, kind: WorkerKind) -> Option<&Arc<WorkerPool>> {
        match (&self.disaggregation, kind) {
            (None, WorkerKind::Regular) | (Some(_), WorkerKind::Decode) => Some(&self.pool),
            (Some(split), WorkerKind::Prefill) => Some(&split.pool),
            (None, _) | (Some(_), WorkerKind::Regular) => None,
        }
    }

    /// The model, once the first worker has said what it serves.
    pub(crate) fn model(&self) -> Option<Arc<str>> {
        self.pool.model.name()
    }

    /// Gives the group a model, which its records and metrics carry from now on.
    pub(crate) fn name(&self, model: &Arc<str>) {
        self.pool.model.rename(model);
        self.is_announced.store(false, Relaxed);
        self.announce();
    }

    /// Lets its records and metrics carry the model, which is known now.
    pub(crate) fn announce(&self) {
        if let Some(model) = self.model()
            && !self.is_announced.swap(true, Relaxed)
        {
            self.pools().for_each(|pool| pool.telemetry.model_known(&model));
        }
    }

    /// Whether every pool has a worker that gets requests. Where prefill and decode are apart, neither can do without the other.
    pub(crate) fn is_ready(&self) -> bool {
        self.pools().all(|pool| pool.healthy() > 0)
    }

    /// Whether it was seen without a worker, even one that drains, for so long.
    pub(crate) fn is_over(&self, now: Time, kept: Duration) -> bool {
        let mut emptied_at = self.emptied_at.lock();
        if !self.pools().all(|pool| pool.candidates.all().is_empty()) {
            *emptied_at = None;
            return false;
        }
        now.since(*emptied_at.get_or_insert(now)) >= kept
    }

    /// The workers that are not leaving.
    pub(crate) fn active(&self) -> impl Iterator<Item = Arc<Candidate>> {
        let all = self.pools().flat_map(|pool| pool.candidates.all());
        all.filter(|candidate| candidate.health() != HealthState::Draining)
    }
}
