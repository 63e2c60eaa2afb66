//! Adds and removes workers while the router serves.

use crate::arrival::Arrival;
use crate::candidate::{Candidate, CandidateName};
use crate::fleet_log::FleetEvent;
use crate::health::{DrainOrder, HealthState};
use crate::health_checker::run_health_checks;
use crate::invalid_worker::InvalidWorker;
use crate::load_poller::poll_load;
use crate::pool::WorkerPool;
use crate::profile::WorkerProfile;
use crate::worker::{NewWorker, Worker};
use router_config::WorkerUpdate;
use router_config::{ConnectionMode, OwnAddressError, WorkerSpec, WorkerSpecError, WorkerUrl};
use router_core::{FleetUpdate, WorkerId};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often a draining worker is checked for requests in flight.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Why a worker cannot be added or removed.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// A worker with this URL is in the fleet already.
    #[error("worker {0} is in the fleet already")]
    Present(WorkerUrl),
    /// No worker with this URL is in the fleet.
    #[error("no worker {0} is in the fleet")]
    Absent(String),
    /// No request can be sent to the worker.
    #[error("worker {url}: {source}")]
    Invalid {
        /// Its URL.
        url: WorkerUrl,
        /// The reason.
        source: InvalidWorker,
    },
    /// It leads back to the router.
    #[error(transparent)]
    OwnAddress(#[from] OwnAddressError),
    /// Its specification is invalid.
    #[error(transparent)]
    Spec(#[from] WorkerSpecError),
}

/// What becomes of the candidates that a worker has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum PresentCandidates {
    /// They stay.
    Kept,
    /// Others take their place.
    Replaced,
}

/// A worker that may join, with the names of its candidates: one, or one per rank.
#[derive(Debug)]
struct PreparedWorker {
    worker: Arc<Worker>,
    first: CandidateName,
    others: Vec<CandidateName>,
}

impl WorkerPool {
    /// Adds a worker and returns its first candidate. It gets requests once it is healthy. A URL may be added again
    /// while a worker with that URL drains.
    ///
    /// # Errors
    /// When the URL is in the fleet already, or the specification is invalid.
    pub fn join(self: &Arc<Self>, spec: &WorkerSpec) -> Result<Arc<Candidate>, MembershipError> {
        self.join_with(spec, Arrival::default())
    }

    /// Adds a worker of which is known whether it is ready, and whose it is. It gets requests once it is ready and healthy.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_with(
        self: &Arc<Self>,
        spec: &WorkerSpec,
        arrival: Arrival,
    ) -> Result<Arc<Candidate>, MembershipError> {
        // Held to the end, so that two calls with the same URL cannot both succeed.
        let _order = self.joining.lock();
        let new = self.prepare(spec, arrival.owner)?;
        new.worker.health_state.lock().set_readiness(arrival.readiness, self.clock.now());
        let mut candidates = Vec::with_capacity(1);
        let first = self.enter(new, &mut candidates);
        self.candidates.insert(&candidates);
        self.begin_service(std::slice::from_ref(&first));
        Ok(first)
    }

    /// Adds many workers, all or none of them. The tables that requests read change once, not once for each worker.
    ///
    /// # Errors
    /// As [`join`](Self::join), and when two of them have the same URL.
    pub fn join_all(self: &Arc<Self>, specs: &[WorkerSpec]) -> Result<(), MembershipError> {
        let _order = self.joining.lock();
        let mut urls = HashSet::with_capacity(specs.len());
        let mut workers = Vec::with_capacity(specs.len());
        for spec in specs {
            let new = self.prepare(spec, None)?;
            if !urls.insert(new.worker.url.clone()) {
                return Err(MembershipError::Present(new.worker.url.clone()));
            }
            workers.push(new);
        }
        let mut candidates = Vec::with_capacity(specs.len());
        let first: Vec<_> = workers.into_iter().map(|new| self.enter(new, &mut candidates)).collect();
        self.candidates.insert(&candidates);
        self.begin_service(&first);
        // Until each was asked what it serves, requests wait for that.
        for first in first.iter().filter(|first| first.worker.health_config.load().is_none()) {
            first.worker.mark_healthy(self);
        }
        Ok(())
    }

    /// Whether a worker could join.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn check(&self, spec: &WorkerSpec) -> Result<(), MembershipError> {
        self.prepare(spec, None).map(drop)
    }

    /// A worker that may join: everything that can fail has been done.
    fn prepare(&self, spec: &WorkerSpec, owner: Option<Arc<str>>) -> Result<PreparedWorker, MembershipError> {
        let url = spec.base_url(self.fleet.connection_mode).map_err(WorkerSpecError::from)?;
        self.fleet.own_address.check(&url)?;
        let profile = WorkerProfile::new(spec, self.fleet.authorization.as_ref(), self.fleet.ranks)?;
        let health = spec.health(self.fleet.health.as_ref())?;
        if self.candidates.find_active(&url).is_some() {
            return Err(MembershipError::Present(url));
        }
        let invalid = |source| MembershipError::Invalid { url: url.clone(), source };
        let ranks = profile.ranks();
        let name = |rank| CandidateName::of(&url, rank).map_err(|source| invalid(source.into()));
        let first = name(ranks.map(|_| 0))?;
        let others = (1..ranks.unwrap_or(1)).map(|rank| name(Some(rank))).collect::<Result<_, _>>()?;
        let parts = NewWorker {
            url: url.clone(),
            spec: WorkerSpec { url: url.as_str().to_owned(), ..spec.clone() },
            profile,
            health,
            breaker: self.fleet.breaker,
            connect: self.connect.clone(),
            uses_grpc_port: spec.connection_mode.unwrap_or(self.fleet.connection_mode)
                == ConnectionMode::GrpcPort,
            owner,
            joined_at: self.clock.now(),
        };
        let worker = Arc::new(Worker::new(parts).map_err(invalid)?);
        Ok(PreparedWorker { worker, first, others })
    }

    /// Lets a worker into the balancer and adds its candidates to `candidates`; returns the first of them.
    fn enter(&self, new: PreparedWorker, candidates: &mut Vec<Arc<Candidate>>) -> Arc<Candidate> {
        let PreparedWorker { worker, first, others } = new;
        let first = self.enter_candidate(&worker, first);
        candidates.push(Arc::clone(&first));
        candidates.extend(others.into_iter().map(|name| self.enter_candidate(&worker, name)));
        first
    }

    /// Lets one candidate of a worker into the balancer. It gets requests once it is routable.
    fn enter_candidate(&self, worker: &Arc<Worker>, name: CandidateName) -> Arc<Candidate> {
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
        self.telemetry.worker_joined(&candidate.telemetry);
        candidate
    }

    /// Logs workers that have joined, given by their first candidates, and starts their tasks.
    fn begin_service(self: &Arc<Self>, joined: &[Arc<Candidate>]) {
        self.weights.add(joined.iter().map(|first| &first.worker));
        for first in joined {
            let worker = &first.worker;
            if self.log.has_own_line(FleetEvent::Joined, None) {
                info!(worker = %worker.url, "worker joined");
            } else {
                debug!(worker = %worker.url, "worker joined");
            }
            if worker.target.base().ends_with("/v1") {
                warn!(worker = %worker.url, "the worker's URL ends in /v1, which is put before the path of every \
                    request: requests go to /v1/v1/...; write the URL without it");
            }
            self.spawn_tasks(worker, first.id);
        }
    }

    /// Matches the candidates of a worker to the ranks that it reports: missing ones are added, surplus ones are drained and
    /// removed.
    pub(crate) fn reconcile_ranks(self: &Arc<Self>, worker: &Arc<Worker>) {
        self.reconcile_candidates(worker, PresentCandidates::Kept);
    }

    /// Puts new candidates in the place of all that a worker has, because they are those of another server.
    pub(crate) fn replace_candidates(self: &Arc<Self>, worker: &Arc<Worker>) {
        self.reconcile_candidates(worker, PresentCandidates::Replaced);
    }

    fn reconcile_candidates(self: &Arc<Self>, worker: &Arc<Worker>, present: PresentCandidates) {
        let _order = self.joining.lock();
        if matches!(worker.health(), HealthState::Draining | HealthState::Gone) {
            return;
        }
        let ranks = worker.profile.load().ranks();
        let wanted = |rank: Option<u32>| {
            present == PresentCandidates::Kept
                && rank.is_some() == ranks.is_some()
                && rank < Some(ranks.unwrap_or(1))
        };
        let (present, surplus): (Vec<_>, Vec<_>) =
            self.candidates.of(worker).into_iter().filter(|w| !w.is_removing()).partition(|w| wanted(w.rank));
        let all = (0..ranks.unwrap_or(1)).map(|rank| ranks.map(|_| rank));
        let missing: Vec<_> = all.filter(|rank| !present.iter().any(|w| w.rank == *rank)).collect();
        if missing.is_empty() && surplus.is_empty() {
            return;
        }
        let mut added = Vec::with_capacity(missing.len());
        for rank in missing {
            match CandidateName::of(&worker.url, rank) {
                Ok(name) => added.push(self.enter_candidate(worker, name)),
                Err(error) => warn!(worker = %worker.url, rank, %error, "rank cannot be added"),
            }
        }
        self.candidates.insert(&added);
        surplus.iter().for_each(|candidate| candidate.removing.store(true, Relaxed));
        worker.refresh_candidates(self);
        if let Some(ranks) = ranks {
            info!(worker = %worker.url, ranks, "worker has one candidate per rank");
        }
        if !surplus.is_empty() {
            self.drain_and_remove(surplus);
        }
    }

    /// Starts the background tasks of a worker. `first` is the first of its candidates.
    fn spawn_tasks(self: &Arc<Self>, worker: &Arc<Worker>, first: WorkerId) {
        let both = || (Arc::clone(self), Arc::clone(worker));
        let (pool, subject) = both();
        let is_known = !self.model.matters() || !worker.profile.load().served.is_unknown();
        if worker.health_config.load().is_none() && is_known {
            worker.mark_healthy(self);
        }
        self.tasks.spawn(run_health_checks(pool, subject, first.slot() as u64));
        #[cfg(feature = "grpc")]
        if let Some(transport) = worker.transport.own_grpc(&worker.target) {
            let (pool, subject) = both();
            self.tasks.spawn(crate::state_watcher::watch_state(pool, subject, transport));
        }
        let (pool, subject) = both();
        self.tasks.spawn(poll_load(pool, subject, self.fleet.load_poll));
    }

    /// Changes the configuration of a worker.
    ///
    /// # Errors
    /// When a value of `update` is invalid; then nothing changes.
    pub fn update(&self, worker: &Arc<Worker>, update: WorkerUpdate) -> Result<(), WorkerSpecError> {
        let _order = self.joining.lock();
        if update.url.as_ref().is_some_and(|url| url.parse().ok().as_ref() != Some(&worker.url)) {
            return Err(WorkerSpecError::UrlChanged);
        }
        let current = worker.health_config.load_full();
        let base = match update.disable_health_check {
            Some(true) => None,
            Some(false) => current.clone().or_else(|| self.fleet.health.clone().map(Arc::new)),
            None => current.clone(),
        };
        let health = base.map(|base| update.health().over(&base)).transpose()?;
        let new = worker.profile.load().updated(update.clone())?;
        worker.profile.store(Arc::new(new));
        match update.drained {
            Some(true) => worker.set_drained(self, DrainOrder::Drain),
            Some(false) => worker.set_drained(self, DrainOrder::Restore),
            None => {}
        }
        worker.spec.lock().apply(update);
        if health.as_ref() != current.as_deref() {
            worker.health_config.store(health.map(Arc::new));
            worker.health_config_changed.notify_one();
        }
        self.publish_capacity(worker);
        Ok(())
    }

    /// Passes the capacity of a worker to the balancer.
    pub(crate) fn publish_capacity(&self, worker: &Arc<Worker>) {
        let capacity = worker.profile.load().capacity();
        let candidates = self.candidates.of(worker);
        let mut balancer = self.balancer.lock();
        for candidate in candidates {
            balancer.apply(self.clock.now(), FleetUpdate::Capacity(candidate.id, capacity));
        }
    }

    /// Tells the balancer that the prefix cache of a worker was emptied.
    pub fn cache_emptied(&self, worker: &Arc<Worker>) {
        let candidates = self.candidates.of(worker);
        let mut balancer = self.balancer.lock();
        for candidate in candidates {
            balancer.apply(self.clock.now(), FleetUpdate::CacheEmptied(candidate.id));
        }
    }

    /// Drains a worker with all its ranks: it gets no new requests, and is removed when its requests in flight have ended
    /// or the drain timeout has passed. No effect on a worker that drains already.
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

    /// Removes candidates that get no new requests, once their requests in flight have ended.
    fn drain_and_remove(self: &Arc<Self>, leaving: Vec<Arc<Candidate>>) {
        let pool = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                ended = tokio::time::timeout(pool.fleet.drain, pool.drained(&leaving)) => {
                    if let (Err(_), Some(candidate)) = (ended, leaving.first()) {
                        warn!(worker = %candidate.worker.url, "worker removed with requests in flight");
                    }
                }
                () = pool.stopping.cancelled() => {}
            }
            pool.remove_candidates(&leaving);
        });
    }

    async fn drained(&self, leaving: &[Arc<Candidate>]) {
        let busy = |c: &Arc<Candidate>| self.balancer.lock().view(c.id).is_some_and(|w| w.in_flight > 0);
        while leaving.iter().any(busy) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    fn remove_candidates(&self, leaving: &[Arc<Candidate>]) {
        for candidate in leaving {
            self.balancer.lock().apply(self.clock.now(), FleetUpdate::Leave(candidate.id));
        }
        self.candidates.remove(leaving);
        for candidate in leaving {
            if self.candidates.of(&candidate.worker).is_empty() {
                candidate.worker.leave();
            }
            self.telemetry.worker_left(&candidate.telemetry);
            if self.log.has_own_line(FleetEvent::Left, None) {
                info!(worker = %candidate.telemetry.name, "worker left");
            } else {
                debug!(worker = %candidate.telemetry.name, "worker left");
            }
        }
    }
}
