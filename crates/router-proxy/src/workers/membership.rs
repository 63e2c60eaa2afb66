//! Workers come and go while the router serves.

use super::discovery::discover;
use super::{Health, InvalidWorker, Parts, Process, Profile, Tag, Worker, poll, watch};
use crate::router::Shared;
use router_config::WorkerUpdate;
use router_config::{WorkerSpec, WorkerSpecError, WorkerUrl};
use router_core::{FleetUpdate, WorkerId};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
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
    Absent(String),
    #[error("worker {url}: {source}")]
    Invalid { url: WorkerUrl, source: InvalidWorker },
    #[error(transparent)]
    Spec(#[from] WorkerSpecError),
}

impl Shared {
    /// Takes a worker in; it gets requests once it is known to be healthy. The first of its candidates.
    ///
    /// A worker that is leaving does not stand in the way of the same URL joining again.
    pub(crate) fn join(self: &Arc<Self>, spec: &WorkerSpec) -> Result<Arc<Worker>, MembershipError> {
        let url = spec.base_url()?;
        let profile = Profile::new(spec, self.fleet.authorization.as_ref(), self.fleet.ranks)?;
        let health = spec.health(self.fleet.health.as_ref())?;
        // Held to the end, so that of two that join at once under one URL the second finds the first.
        let _order = self.joining.lock();
        if self.workers.present(&url).is_some() {
            return Err(MembershipError::Present(url));
        }
        let invalid = |source| MembershipError::Invalid { url: url.clone(), source };
        let ranks = profile.ranks();
        let parts =
            Parts { url: url.clone(), profile, health, breaker: self.fleet.breaker, dial: self.dial.clone() };
        let process = Arc::new(Process::new(parts).map_err(invalid)?);
        let first = self.seat(&process, ranks.map(|_| 0)).map_err(invalid)?;
        for rank in 1..ranks.unwrap_or(1) {
            self.seat(&process, Some(rank)).map_err(invalid)?;
        }
        info!(worker = %url, "worker joined");
        self.accompany(&process, first.id);
        Ok(first)
    }

    /// Makes a candidate of a process, or of one rank of it; it gets requests once that is settled.
    fn seat(&self, process: &Arc<Process>, rank: Option<u32>) -> Result<Arc<Worker>, InvalidWorker> {
        let tag = Tag::of(&process.url, rank)?;
        let metrics = self.records.metrics.worker(&tag.name);
        let (info, capacity) = {
            let profile = process.profile.load();
            (profile.info(&tag.name), profile.capacity())
        };
        let id = {
            let (mut balancer, now) = (self.balancer.lock(), self.clock.now());
            let id = balancer.join(now, info);
            balancer.apply(now, FleetUpdate::Routable(id, false));
            balancer.apply(now, FleetUpdate::Capacity(id, capacity));
            id
        };
        let worker = Arc::new(Worker::new(id, Arc::clone(process), tag, metrics));
        self.workers.insert(&worker);
        Ok(worker)
    }

    /// Makes as many candidates of a worker as it has ranks, now that it has told: those that it lacks join, and those that
    /// it has no more leave when their requests have ended.
    pub(super) fn arrange(self: &Arc<Self>, process: &Arc<Process>) {
        let _order = self.joining.lock();
        if matches!(process.health(), Health::Draining | Health::Gone) {
            return;
        }
        let ranks = process.profile.load().ranks();
        let wanted = |rank: Option<u32>| rank.is_some() == ranks.is_some() && rank < Some(ranks.unwrap_or(1));
        let (present, surplus): (Vec<_>, Vec<_>) =
            self.workers.of(process).into_iter().filter(|w| !w.is_dismissed()).partition(|w| wanted(w.rank));
        let all = (0..ranks.unwrap_or(1)).map(|rank| ranks.map(|_| rank));
        let missing: Vec<_> = all.filter(|rank| !present.iter().any(|w| w.rank == *rank)).collect();
        if missing.is_empty() && surplus.is_empty() {
            return;
        }
        for rank in missing {
            if let Err(error) = self.seat(process, rank) {
                warn!(worker = %process.url, ?rank, %error, "a rank cannot join");
            }
        }
        surplus.iter().for_each(|worker| worker.dismissed.store(true, Relaxed));
        process.rearranged(self);
        info!(worker = %process.url, ranks = ranks.unwrap_or(1), "worker is as many candidates as it has ranks");
        if !surplus.is_empty() {
            self.see_off(surplus);
        }
    }

    /// Starts what runs beside a worker for as long as it is in the fleet. `first` is the first of its candidates.
    fn accompany(self: &Arc<Self>, process: &Arc<Process>, first: WorkerId) {
        let both = || (Arc::clone(self), Arc::clone(process));
        let (shared, subject) = both();
        match &process.health_config {
            Some(health) => {
                self.tasks.spawn(watch((shared, subject), health.clone(), first.slot() as u64));
            }
            None => {
                process.trust(self);
                self.tasks.spawn(async move { discover(&shared, &subject).await });
            }
        }
        if self.needs.load_reports {
            let (shared, subject) = both();
            self.tasks.spawn(poll(shared, subject, self.fleet.load_poll));
        }
    }

    /// Changes what a worker should get.
    pub(crate) fn update(&self, process: &Arc<Process>, update: WorkerUpdate) -> Result<(), WorkerSpecError> {
        let _order = self.joining.lock();
        let new = process.profile.load().updated(update)?;
        process.profile.store(Arc::new(new));
        self.tell_capacity(process);
        Ok(())
    }

    /// Tells the balancer what a worker can take.
    pub(super) fn tell_capacity(&self, process: &Arc<Process>) {
        let capacity = process.profile.load().capacity();
        let candidates = self.workers.of(process);
        let mut balancer = self.balancer.lock();
        for worker in candidates {
            balancer.apply(self.clock.now(), FleetUpdate::Capacity(worker.id, capacity));
        }
    }

    /// Lets a worker go, with all its ranks: no new requests from now on, and gone when its running ones have ended or the
    /// time is up. One that leaves already goes on leaving.
    pub(crate) fn retire(self: &Arc<Self>, process: &Arc<Process>) {
        if matches!(process.health(), Health::Draining | Health::Gone) {
            return;
        }
        let order = self.joining.lock();
        process.drain(self);
        process.gone.cancel();
        drop(order);
        self.see_off(self.workers.of(process));
    }

    /// Takes candidates that get no requests any more out of the fleet, once those that they have are done.
    fn see_off(self: &Arc<Self>, leaving: Vec<Arc<Worker>>) {
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                ended = tokio::time::timeout(shared.fleet.drain, shared.drained(&leaving)) => {
                    if let (Err(_), Some(worker)) = (ended, leaving.first()) {
                        warn!(worker = %worker.url, "worker leaves with requests still running");
                    }
                }
                () = shared.stopping.cancelled() => {}
            }
            leaving.iter().for_each(|worker| shared.forget(worker));
        });
    }

    async fn drained(&self, leaving: &[Arc<Worker>]) {
        let busy =
            |worker: &Arc<Worker>| self.balancer.lock().view(worker.id).is_some_and(|w| w.in_flight > 0);
        while leaving.iter().any(busy) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn forget(&self, worker: &Worker) {
        self.balancer.lock().apply(self.clock.now(), FleetUpdate::Leave(worker.id));
        self.workers.remove(worker.id);
        if self.workers.of(worker).is_empty() {
            worker.leave();
        }
        // The same URL may have joined again meanwhile; then its series are the heir's.
        if !self
            .workers
            .all()
            .iter()
            .any(|w| w.telemetry.name == worker.telemetry.name && w.health() != Health::Draining)
        {
            self.records.metrics.remove_worker(&worker.telemetry.name);
        }
        info!(worker = %worker.telemetry.name, "worker left");
    }
}

impl super::Workers {
    /// The worker at `url` that is not leaving; the first of its ranks.
    pub(crate) fn present(&self, url: &WorkerUrl) -> Option<Arc<Worker>> {
        self.all().into_iter().find(|w| w.url == *url && w.health() != Health::Draining)
    }
}
