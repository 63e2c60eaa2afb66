//! Notes which workers have missed a weight update, and when they have caught up.

use crate::pool::WorkerPool;
use crate::profile::WorkerProfile;
use crate::weight_update::{MissedUpdate, UpdateScope, WeightUpdate};
use crate::worker::Worker;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tracing::{info, warn};

/// In place of a call, where a worker reported other weights than the fleet's.
const REPORT: &str = "weight_version";

/// Which server said what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SeenServer {
    /// The one that was at the worker's address before.
    Same,
    /// One that has taken its place.
    Another,
}

impl Worker {
    /// The weight update that it missed and has not made up for.
    pub fn missed_update(&self) -> Option<MissedUpdate> {
        self.missed_update.lock().clone()
    }

    /// How many weight updates it has accepted.
    pub(crate) fn accepted_updates(&self) -> u64 {
        self.accepted_updates.load(Relaxed)
    }

    /// It accepted a weight update.
    pub fn accepted_update(self: &Arc<Self>, pool: &WorkerPool, update: &WeightUpdate) {
        if let Some(version) = &update.version {
            self.profile.rcu(|old| {
                let mut profile = WorkerProfile::clone(old);
                profile.reported.weight_version = Some(version.to_string());
                profile
            });
        }
        self.accepted_updates.fetch_add(1, Relaxed);
        if update.scope != UpdateScope::Version {
            // What was computed with the old weights is of no use.
            pool.cache_emptied(self);
        }
        self.catch_up(pool, |missed| missed.is_made_up_by(update));
    }

    /// It did not accept a weight update that another worker accepted. It gets no requests until it has caught up, unless the
    /// configuration allows outdated weights.
    pub fn miss_update(self: &Arc<Self>, pool: &WorkerPool, update: &WeightUpdate, reason: String) {
        let gets_requests = pool.fleet.allow_outdated_weights;
        let version = update.version.as_deref();
        warn!(worker = %self.url, call = update.call, version, cause = reason, gets_requests, "worker missed a weight update");
        let since = pool.clock.now();
        *self.missed_update.lock() = Some(MissedUpdate { update: update.clone(), reason, since });
        self.refresh_candidates(pool);
    }

    /// It has said what it is, and with that perhaps the version of its weights.
    pub(crate) fn compare_weights(self: &Arc<Self>, pool: &WorkerPool, server: SeenServer) {
        let (Some(own), Some(fleet)) =
            (self.profile.load().reported.weight_version.clone(), pool.weights.version())
        else {
            return;
        };
        if *own == *fleet {
            // The version proves nothing about an update in parts, unless the server has just started: a running one has it
            // after the first part.
            let is_new = server == SeenServer::Another;
            self.catch_up(pool, |missed| is_new || missed.update.scope != UpdateScope::Part);
            return;
        }
        let others = pool.weights.others(self);
        let has_it = |w: &Arc<Self>| {
            w.profile.load().reported.weight_version.as_deref() == Some(&*fleet) && !w.has_outdated_weights()
        };
        if !others.iter().any(has_it) {
            // All were restarted or replaced: what they have now is what the fleet has.
            warn!(worker = %self.url, version = own, lost = &*fleet, "no worker has the weights of the last update any more");
            pool.weights.forget(&fleet);
            for worker in others.iter().chain([self]) {
                worker.catch_up(pool, |missed| missed.update.call == REPORT);
            }
        } else if !self.has_outdated_weights() {
            let update = pool.weights.update(REPORT, UpdateScope::Whole, Some(&fleet));
            self.miss_update(
                pool,
                &update,
                format!("it reports weight version {own}, the fleet has {fleet}"),
            );
        }
    }

    /// Removes the mark of a missed update if `is_over` says so of it.
    fn catch_up(self: &Arc<Self>, pool: &WorkerPool, is_over: impl Fn(&MissedUpdate) -> bool) {
        let over = self.missed_update.lock().take_if(|missed| is_over(missed));
        if let Some(MissedUpdate { update, .. }) = over {
            info!(worker = %self.url, missed = update.call, version = update.version.as_deref(), "worker has caught up with the weights");
            self.refresh_candidates(pool);
        }
    }
}
