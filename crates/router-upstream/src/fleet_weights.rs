//! The weight updates of one fleet.
//!
//! The router does not see weights. It knows which update calls it sent, which workers accepted them, and the
//! `weight_version` that SGLang reports.

use crate::health::HealthState;
use crate::weight_update::{UpdateScope, WeightUpdate};
use crate::worker::Worker;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// The weight updates of one fleet, for all its pools.
#[derive(Debug, Default)]
pub struct FleetWeights {
    state: Mutex<FleetWeightsState>,
}

#[derive(Debug, Default)]
struct FleetWeightsState {
    round: u64,
    /// The version that all workers should have, once an update to all of them has named one.
    version: Option<Arc<str>>,
    workers: Vec<Weak<Worker>>,
}

impl FleetWeights {
    /// A new update of the caller begins: the parts that follow do not belong to the one before.
    pub fn begin_round(&self) {
        self.state.lock().round += 1;
    }

    /// A call that is about to be sent.
    pub fn update(&self, call: &'static str, scope: UpdateScope, version: Option<&str>) -> WeightUpdate {
        WeightUpdate { call, scope, version: version.map(Into::into), round: self.state.lock().round }
    }

    /// A call that went to all workers was accepted by at least one of them.
    pub fn accepted(&self, update: &WeightUpdate) {
        if update.version.is_some() {
            self.state.lock().version.clone_from(&update.version);
        }
    }

    /// The version that all workers should have, if it is known.
    pub fn version(&self) -> Option<Arc<str>> {
        self.state.lock().version.clone()
    }

    /// Workers joined.
    pub(crate) fn add<'a>(&self, workers: impl Iterator<Item = &'a Arc<Worker>>) {
        let mut state = self.state.lock();
        state.workers.retain(|known| known.strong_count() > 0);
        state.workers.extend(workers.map(Arc::downgrade));
    }

    /// The workers besides `worker` that are in the fleet.
    pub(crate) fn others(&self, worker: &Arc<Worker>) -> Vec<Arc<Worker>> {
        let all: Vec<_> = self.state.lock().workers.iter().filter_map(Weak::upgrade).collect();
        let is_other = |w: &Arc<Worker>| {
            !Arc::ptr_eq(w, worker) && !matches!(w.health(), HealthState::Draining | HealthState::Gone)
        };
        all.into_iter().filter(is_other).collect()
    }

    /// No worker has this version any more.
    pub(crate) fn forget(&self, version: &Arc<str>) {
        self.state.lock().version.take_if(|known| known == version);
    }
}
