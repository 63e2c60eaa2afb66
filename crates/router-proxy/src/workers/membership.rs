//! Workers come and go while the router serves.

use super::{Health, InvalidWorker, Worker, WorkerUrl, poll, watch};
use crate::config::{HealthConfig, WorkerConfig};
use crate::router::Shared;
use router_core::{Change, WorkerInfo};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How often a leaving worker is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How workers are watched, and how they leave.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// How health is checked; never when absent.
    pub(crate) health: Option<HealthConfig>,
    /// Time between two load polls of one worker.
    pub(crate) load_poll: Duration,
    /// How long a leaving worker's requests may take to end.
    pub(crate) drain: Duration,
}

/// Why a worker does not join or leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("worker {0} is in the fleet already")]
    Present(WorkerUrl),
    #[error("no worker {0} is in the fleet")]
    Absent(WorkerUrl),
    #[error("worker {url}: {source}")]
    Invalid { url: WorkerUrl, source: InvalidWorker },
}

impl Shared {
    /// Takes a worker in; it gets requests once it is known to be healthy.
    ///
    /// A worker that is leaving does not stand in the way of the same URL joining again.
    pub(crate) fn join(self: &Arc<Self>, config: &WorkerConfig) -> Result<(), MembershipError> {
        let url = &config.url;
        // Held to the end, so that of two that join at once under one URL the second finds the first.
        let _order = self.joining.lock();
        if self.workers.present(url).is_some() {
            return Err(MembershipError::Present(url.clone()));
        }
        let info =
            WorkerInfo { weight: config.weight, priority: config.priority, ..WorkerInfo::new(url.as_str()) };
        let metrics = self.records.metrics.worker(&url.shared());
        let id = {
            let mut balancer = self.balancer.lock();
            let id = balancer.join(self.clock.now(), info);
            balancer.apply(self.clock.now(), Change::Routable(id, false));
            id
        };
        let worker = Worker::new(id, url.clone(), metrics, &self.limits.dial).map_err(|source| {
            self.balancer.lock().apply(self.clock.now(), Change::Leave(id));
            MembershipError::Invalid { url: url.clone(), source }
        })?;
        let worker = Arc::new(worker);
        self.workers.insert(&worker);
        info!(worker = %url, "worker joined");
        match &self.membership.health {
            Some(health) => {
                self.tasks.spawn(watch(Arc::clone(self), Arc::clone(&worker), health.clone()));
            }
            None => worker.trust(self),
        }
        if self.needs.load_reports {
            self.tasks.spawn(poll(Arc::clone(self), worker, self.membership.load_poll));
        }
        Ok(())
    }

    /// Lets a worker go: no new requests from now on, and gone when its running ones have ended or the time is up.
    pub(crate) fn leave(self: &Arc<Self>, url: &WorkerUrl) -> Result<(), MembershipError> {
        let worker = self.workers.present(url).ok_or_else(|| MembershipError::Absent(url.clone()))?;
        worker.drain(self);
        worker.gone.cancel();
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let drained = shared.drained(&worker);
            tokio::select! {
                ended = tokio::time::timeout(shared.membership.drain, drained) => {
                    if ended.is_err() {
                        warn!(worker = %worker.url, "worker leaves with requests still running");
                    }
                }
                () = shared.stopping.cancelled() => {}
            }
            shared.forget(&worker);
        });
        Ok(())
    }

    async fn drained(&self, worker: &Worker) {
        while self.balancer.lock().view(worker.id).is_some_and(|w| w.in_flight > 0) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn forget(&self, worker: &Worker) {
        self.balancer.lock().apply(self.clock.now(), Change::Leave(worker.id));
        self.workers.remove(worker.id);
        // The same URL may have joined again meanwhile; then its series are the heir's.
        if self.workers.present(&worker.url).is_none() {
            self.records.metrics.forget(&worker.url.shared());
        }
        info!(worker = %worker.url, "worker left");
    }
}

impl super::Workers {
    /// The worker at `url` that is not leaving.
    pub(crate) fn present(&self, url: &WorkerUrl) -> Option<Arc<Worker>> {
        self.all().into_iter().find(|w| w.url == *url && w.health() != Health::Draining)
    }
}
