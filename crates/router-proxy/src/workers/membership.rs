//! Workers come and go while the router serves.

use super::discovery::discover;
use super::profile::WorkerUpdate;
use super::{Health, InvalidWorker, Parts, Worker, WorkerSpec, WorkerSpecError, WorkerUrl, poll, watch};
use crate::router::Shared;
use router_core::Change;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How often a leaving worker is looked at.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Why a worker does not join or leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MembershipError {
    #[error("worker {0} is in the fleet already")]
    Present(WorkerUrl),
    #[error("no worker {0} is in the fleet")]
    Absent(WorkerUrl),
    #[error("worker {url}: {source}")]
    Invalid { url: WorkerUrl, source: InvalidWorker },
    #[error(transparent)]
    Spec(#[from] WorkerSpecError),
}

impl Shared {
    /// Takes a worker in; it gets requests once it is known to be healthy.
    ///
    /// A worker that is leaving does not stand in the way of the same URL joining again.
    pub(crate) fn join(self: &Arc<Self>, spec: &WorkerSpec) -> Result<Arc<Worker>, MembershipError> {
        let (url, profile) = (spec.base_url()?, spec.profile(self.fleet.authorization.as_ref())?);
        let health = spec.health(self.fleet.health.as_ref())?;
        // Held to the end, so that of two that join at once under one URL the second finds the first.
        let _order = self.joining.lock();
        if self.workers.present(&url).is_some() {
            return Err(MembershipError::Present(url));
        }
        let info = profile.info(&url);
        let parts = Parts {
            url: url.clone(),
            profile,
            health,
            breaker: self.fleet.breaker,
            metrics: self.records.metrics.worker(&url.shared()),
            dial: self.limits.dial.clone(),
        };
        let id = {
            let mut balancer = self.balancer.lock();
            let id = balancer.join(self.clock.now(), info);
            balancer.apply(self.clock.now(), Change::Routable(id, false));
            id
        };
        let worker = Worker::new(id, parts).map_err(|source| {
            self.balancer.lock().apply(self.clock.now(), Change::Leave(id));
            MembershipError::Invalid { url: url.clone(), source }
        })?;
        let worker = Arc::new(worker);
        self.workers.insert(&worker);
        info!(worker = %url, "worker joined");
        self.accompany(&worker);
        Ok(worker)
    }

    /// Starts what runs beside a worker for as long as it is in the fleet.
    fn accompany(self: &Arc<Self>, worker: &Arc<Worker>) {
        let both = || (Arc::clone(self), Arc::clone(worker));
        let (shared, subject) = both();
        match &worker.health_config {
            Some(health) => {
                self.tasks.spawn(watch(shared, subject, health.clone()));
            }
            None => {
                worker.trust(self);
                self.tasks.spawn(async move { discover(&shared, &subject).await });
            }
        }
        if self.needs.load_reports {
            let (shared, subject) = both();
            self.tasks.spawn(poll(shared, subject, self.fleet.load_poll));
        }
    }

    /// Changes what a worker should get.
    pub(crate) fn update(&self, worker: &Worker, update: WorkerUpdate) -> Result<(), WorkerSpecError> {
        let _order = self.joining.lock();
        let new = worker.profile.load().updated(update)?;
        let change = Change::Capacity(worker.id, new.capacity());
        worker.profile.store(Arc::new(new));
        self.balancer.lock().apply(self.clock.now(), change);
        Ok(())
    }

    /// Lets a worker go: no new requests from now on, and gone when its running ones have ended or the time is up. One
    /// that leaves already goes on leaving.
    pub(crate) fn retire(self: &Arc<Self>, worker: Arc<Worker>) {
        if matches!(worker.health(), Health::Draining | Health::Gone) {
            return;
        }
        worker.drain(self);
        worker.gone.cancel();
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let drained = shared.drained(&worker);
            tokio::select! {
                ended = tokio::time::timeout(shared.fleet.drain, drained) => {
                    if ended.is_err() {
                        warn!(worker = %worker.url, "worker leaves with requests still running");
                    }
                }
                () = shared.stopping.cancelled() => {}
            }
            shared.forget(&worker);
        });
    }

    async fn drained(&self, worker: &Worker) {
        while self.balancer.lock().view(worker.id).is_some_and(|w| w.in_flight > 0) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn forget(&self, worker: &Worker) {
        self.balancer.lock().apply(self.clock.now(), Change::Leave(worker.id));
        self.workers.remove(worker.id);
        worker.leave();
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
