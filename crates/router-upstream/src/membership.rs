//! Workers come and go while the router serves.

use crate::candidate::{Candidate, CandidateName};
use crate::discovery::discover;
use crate::health::HealthState;
use crate::health_checker::watch;
use crate::load_poller::poll;
use crate::pool::WorkerPool;
use crate::profile::Profile;
use crate::worker::{InvalidWorker, NewWorker, Worker};
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
pub enum MembershipError {
    #[error("worker {0} is in the fleet already")]
    Present(WorkerUrl),
    #[error("no worker {0} is in the fleet")]
    Absent(String),
    #[error("worker {url}: {source}")]
    Invalid { url: WorkerUrl, source: InvalidWorker },
    #[error(transparent)]
    Spec(#[from] WorkerSpecError),
}

impl WorkerPool {
    /// Takes a worker in; it gets requests once it is known to be healthy. The first of its candidates.
    ///
    /// A worker that is leaving does not stand in the way of the same URL joining again.
    pub fn join(self: &Arc<Self>, spec: &WorkerSpec) -> Result<Arc<Candidate>, MembershipError> {
        let url = spec.base_url()?;
        let profile = Profile::new(spec, self.fleet.authorization.as_ref(), self.fleet.ranks)?;
        let health = spec.health(self.fleet.health.as_ref())?;
        // Held to the end, so that of two that join at once under one URL the second finds the first.
        let _order = self.joining.lock();
        if self.candidates.find_active(&url).is_some() {
            return Err(MembershipError::Present(url));
        }
        let invalid = |source| MembershipError::Invalid { url: url.clone(), source };
        let ranks = profile.ranks();
        let parts = NewWorker {
            url: url.clone(),
            profile,
            health,
            breaker: self.fleet.breaker,
            connect: self.connect.clone(),
        };
        let worker = Arc::new(Worker::new(parts).map_err(invalid)?);
        let first = self.add_candidate(&worker, ranks.map(|_| 0)).map_err(invalid)?;
        for rank in 1..ranks.unwrap_or(1) {
            self.add_candidate(&worker, Some(rank)).map_err(invalid)?;
        }
        info!(worker = %url, "worker joined");
        self.spawn_tasks(&worker, first.id);
        Ok(first)
    }

    /// Makes a candidate of a worker, or of one rank of it; it gets requests once that is settled.
    fn add_candidate(
        &self,
        worker: &Arc<Worker>,
        rank: Option<u32>,
    ) -> Result<Arc<Candidate>, InvalidWorker> {
        let name = CandidateName::of(&worker.url, rank)?;
        let metrics = self.telemetry.metrics.worker(&name.name);
        let (info, capacity) = {
            let profile = worker.profile.load();
            (profile.info(&name.name), profile.capacity())
        };
        let id = {
            let (mut balancer, now) = (self.balancer.lock(), self.clock.now());
            let id = balancer.join(now, info);
            balancer.apply(now, FleetUpdate::Routable(id, false));
            balancer.apply(now, FleetUpdate::Capacity(id, capacity));
            id
        };
        let candidate = Arc::new(Candidate::new(id, Arc::clone(worker), name, metrics));
        self.candidates.insert(&candidate);
        Ok(candidate)
    }

    /// Makes as many candidates of a worker as it has ranks, now that it has told: those that it lacks join, and those that
    /// it has no more leave when their requests have ended.
    pub(crate) fn reconcile_ranks(self: &Arc<Self>, worker: &Arc<Worker>) {
        let _order = self.joining.lock();
        if matches!(worker.health(), HealthState::Draining | HealthState::Gone) {
            return;
        }
        let ranks = worker.profile.load().ranks();
        let wanted = |rank: Option<u32>| rank.is_some() == ranks.is_some() && rank < Some(ranks.unwrap_or(1));
        let (present, surplus): (Vec<_>, Vec<_>) =
            self.candidates.of(worker).into_iter().filter(|w| !w.is_removing()).partition(|w| wanted(w.rank));
        let all = (0..ranks.unwrap_or(1)).map(|rank| ranks.map(|_| rank));
        let missing: Vec<_> = all.filter(|rank| !present.iter().any(|w| w.rank == *rank)).collect();
        if missing.is_empty() && surplus.is_empty() {
            return;
        }
        for rank in missing {
            if let Err(error) = self.add_candidate(worker, rank) {
                warn!(worker = %worker.url, ?rank, %error, "a rank cannot join");
            }
        }
        surplus.iter().for_each(|candidate| candidate.removing.store(true, Relaxed));
        worker.refresh_candidates(self);
        info!(worker = %worker.url, ranks = ranks.unwrap_or(1), "worker is as many candidates as it has ranks");
        if !surplus.is_empty() {
            self.drain_and_remove(surplus);
        }
    }

    /// Starts what runs beside a worker for as long as it is in the fleet. `first` is the first of its candidates.
    fn spawn_tasks(self: &Arc<Self>, worker: &Arc<Worker>, first: WorkerId) {
        let both = || (Arc::clone(self), Arc::clone(worker));
        let (pool, subject) = both();
        match &worker.health_config {
            Some(health) => {
                self.tasks.spawn(watch((pool, subject), health.clone(), first.slot() as u64));
            }
            None => {
                worker.mark_healthy(self);
                self.tasks.spawn(async move { discover(&pool, &subject).await });
            }
        }
        if self.needs.load_reports {
            let (pool, subject) = both();
            self.tasks.spawn(poll(pool, subject, self.fleet.load_poll));
        }
    }

    /// Changes what a worker should get.
    pub fn update(&self, worker: &Arc<Worker>, update: WorkerUpdate) -> Result<(), WorkerSpecError> {
        let _order = self.joining.lock();
        let new = worker.profile.load().updated(update)?;
        worker.profile.store(Arc::new(new));
        self.publish_capacity(worker);
        Ok(())
    }

    /// Tells the balancer what a worker can take.
    pub(crate) fn publish_capacity(&self, worker: &Arc<Worker>) {
        let capacity = worker.profile.load().capacity();
        let candidates = self.candidates.of(worker);
        let mut balancer = self.balancer.lock();
        for candidate in candidates {
            balancer.apply(self.clock.now(), FleetUpdate::Capacity(candidate.id, capacity));
        }
    }

    /// Lets a worker go, with all its ranks: no new requests from now on, and gone when its running ones have ended or the
    /// time is up. One that leaves already goes on leaving.
    pub fn begin_drain(self: &Arc<Self>, worker: &Arc<Worker>) {
        if matches!(worker.health(), HealthState::Draining | HealthState::Gone) {
            return;
        }
        let order = self.joining.lock();
        worker.drain(self);
        worker.removed.cancel();
        drop(order);
        self.drain_and_remove(self.candidates.of(worker));
    }

    /// Takes candidates that get no requests any more out of the fleet, once those that they have are done.
    fn drain_and_remove(self: &Arc<Self>, leaving: Vec<Arc<Candidate>>) {
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                ended = tokio::time::timeout(pool.fleet.drain, pool.drained(&leaving)) => {
                    if let (Err(_), Some(candidate)) = (ended, leaving.first()) {
                        warn!(worker = %candidate.worker.url, "worker leaves with requests still running");
                    }
                }
                () = pool.stopping.cancelled() => {}
            }
            leaving.iter().for_each(|candidate| pool.remove_candidate(candidate));
        });
    }

    async fn drained(&self, leaving: &[Arc<Candidate>]) {
        let busy = |c: &Arc<Candidate>| self.balancer.lock().view(c.id).is_some_and(|w| w.in_flight > 0);
        while leaving.iter().any(busy) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn remove_candidate(&self, candidate: &Candidate) {
        self.balancer.lock().apply(self.clock.now(), FleetUpdate::Leave(candidate.id));
        self.candidates.remove(candidate.id);
        if self.candidates.of(&candidate.worker).is_empty() {
            candidate.worker.leave();
        }
        // The same URL may have joined again meanwhile; then its series are the heir's.
        if !self
            .candidates
            .all()
            .iter()
            .any(|c| c.telemetry.name == candidate.telemetry.name && c.health() != HealthState::Draining)
        {
            self.telemetry.metrics.remove_worker(&candidate.telemetry.name);
        }
        info!(worker = %candidate.telemetry.name, "worker left");
    }
}
