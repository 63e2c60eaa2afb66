//! Decides from health checks, connection errors and outcomes whether a worker may be chosen.
//!
//! Lock order: a worker's health state before the balancer, never the other way round. The balancer is updated while the
//! health state is locked, so that two changes cannot reach it in the wrong order.

use crate::candidate::Candidate;
use crate::connection_pool::UpstreamError;
use crate::fleet_log::FleetEvent;
use crate::health::{
    CheckOutcome, CircuitBreaker, DrainOrder, HealthProblem, HealthState, HealthVerdict, ProbeGate,
    Readiness, ReadinessProblem, WorkerFailure, WorkerHealth,
};
use crate::pool::WorkerPool;
use crate::table::CandidateTable;
use crate::worker::Worker;
use router_config::HealthConfig;
use router_core::{Balancer, FleetUpdate, Time, WorkerId};
use router_telemetry::BreakerState;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tracing::{debug, info, warn};

/// Whether an attempt probes a half-open breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptKind {
    /// It does not.
    Normal,
    /// It is the one request that a half-open breaker lets through.
    Probe,
}

/// How an attempt ended, for the circuit breaker of its worker.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    /// When it was sent.
    pub sent_at: Time,
    /// When it ended.
    pub at: Time,
    /// Whether it was a probe.
    pub kind: AttemptKind,
    /// What the outcome says about the worker.
    pub verdict: HealthVerdict,
}

/// The state of a circuit breaker, for the admin API.
#[derive(Clone, Copy, Debug)]
pub struct BreakerStatus {
    /// Closed, open or half-open.
    pub state: BreakerState,
    /// Failed attempts within the window.
    pub failures: u64,
    /// Successful attempts within the window.
    pub successes: u64,
    /// When it becomes half-open, if it is open.
    pub open_until: Option<Time>,
}

/// Whether a half-open breaker lets another probe through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProbePermit {
    /// The next request is a probe.
    Grant,
    /// Not before the probe in flight has ended.
    Keep,
}

impl Candidate {
    /// Says whether a request is the probe of a half-open breaker. Called while the balancer that has just chosen this
    /// candidate is still locked, so that no second request can be the probe.
    pub fn take_probe(&self, candidates: &CandidateTable, balancer: &mut Balancer, now: Time) -> AttemptKind {
        if self.worker.gate.0.load(Relaxed) != ProbeGate::READY {
            return AttemptKind::Normal;
        }
        self.worker.gate.0.store(ProbeGate::TAKEN, Relaxed);
        for candidate in candidates.of(&self.worker) {
            balancer.apply(now, FleetUpdate::Routable(candidate.id, false));
        }
        AttemptKind::Probe
    }
}

impl Worker {
    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<HealthProblem> {
        self.health_state.lock().problem().cloned()
    }

    /// The state of its breaker; `None` when breakers are switched off.
    pub fn breaker(&self, now: Time) -> Option<BreakerStatus> {
        let health_state = self.health_state.lock();
        let breaker = health_state.breaker.as_ref()?;
        let (failures, successes) = breaker.counts(now);
        Some(BreakerStatus { state: breaker.state(), failures, successes, open_until: breaker.open_until() })
    }

    /// Records a health check. Returns whether the worker became healthy.
    pub(crate) fn checked(
        self: &Arc<Self>,
        pool: &WorkerPool,
        check: Result<(), WorkerFailure>,
        config: &HealthConfig,
    ) -> bool {
        let mut health_state = self.health_state.lock();
        let outcome = match &check {
            Ok(()) => CheckOutcome::Passed,
            Err(failure) => CheckOutcome::Failed(failure.reason),
        };
        let is_new_problem = check.is_err_and(|failure| self.note_failure(pool, &mut health_state, failure));
        let change = health_state.check(outcome, config);
        if change.is_none() && is_new_problem && health_state.health() != HealthState::Healthy {
            self.log_problem(pool, &health_state, FleetEvent::CheckFailed, "health check failed");
        }
        if outcome.is_hopeless() && health_state.health() == HealthState::Unhealthy {
            self.evicted.notify_waiters();
        }
        let Some(health) = change else { return false };
        // The breaker opened before the worker went down and says nothing about the one that came up.
        let is_half_opened = health == HealthState::Healthy
            && health_state.breaker.as_mut().and_then(CircuitBreaker::half_open).is_some_and(|state| {
                self.count_change(pool, state);
                true
            });
        let permit = if is_half_opened { ProbePermit::Grant } else { ProbePermit::Keep };
        if health == HealthState::Healthy && health_state.take_restart() {
            pool.cache_emptied(self);
        }
        self.publish_health(pool, &health_state, permit);
        health == HealthState::Healthy
    }

    /// Marks the worker as healthy without a check.
    pub(crate) fn mark_healthy(self: &Arc<Self>, pool: &WorkerPool) {
        let mut health_state = self.health_state.lock();
        if health_state.health() != HealthState::Healthy {
            health_state.set(HealthState::Healthy);
            self.publish_health(pool, &health_state, ProbePermit::Keep);
        }
    }

    /// The worker refused a connection: it gets no more requests until its checks pass.
    ///
    /// No effect without health checks, because then nothing would bring it back; the breaker handles that case.
    pub fn mark_unreachable(self: &Arc<Self>, pool: &WorkerPool, error: &UpstreamError) {
        let mut health_state = self.health_state.lock();
        self.note_failure(pool, &mut health_state, error.into());
        if self.health_config.load().is_none() {
            return;
        }
        if health_state.unreachable().is_some() {
            self.publish_health(pool, &health_state, ProbePermit::Keep);
        }
        drop(health_state);
        self.request_recheck();
    }

    /// Why the worker is not ready, unless it is.
    pub fn readiness_problem(&self) -> Option<ReadinessProblem> {
        self.health_state.lock().readiness_problem().cloned()
    }

    /// Notes what whoever runs the worker says of its readiness. Requests in flight go on.
    pub fn set_readiness(self: &Arc<Self>, pool: &WorkerPool, readiness: Readiness) {
        let mut health_state = self.health_state.lock();
        let is_news = health_state.set_readiness(readiness, pool.clock.now());
        if is_news && health_state.health() != HealthState::Gone {
            self.publish_health(pool, &health_state, ProbePermit::Keep);
        }
    }

    /// Whether an admin keeps requests away from it.
    pub fn is_drained(&self) -> bool {
        self.health_state.lock().is_drained()
    }

    /// Keeps requests away from it, or no more. Requests in flight go on, and so do its checks.
    pub(crate) fn set_drained(self: &Arc<Self>, pool: &WorkerPool, drain: DrainOrder) {
        let mut health_state = self.health_state.lock();
        let is_news = health_state.set_drained(drain, pool.clock.now());
        if is_news && health_state.health() != HealthState::Gone {
            self.publish_health(pool, &health_state, ProbePermit::Keep);
        }
    }

    fn log_readiness(&self, pool: &WorkerPool, health_state: &WorkerHealth) {
        let reason = health_state.readiness_problem().map(|problem| problem.reason.as_str());
        if pool.log.has_own_line(FleetEvent::NotReady, None) {
            info!(worker = %self.url, reason, "worker is not ready");
        } else {
            debug!(worker = %self.url, reason, "worker is not ready");
        }
    }

    /// Marks the worker as draining: it gets no new requests, and no check changes that.
    pub(crate) fn drain(self: &Arc<Self>, pool: &WorkerPool) {
        let mut health_state = self.health_state.lock();
        health_state.set(HealthState::Draining);
        self.set_membership_changed_at(pool.clock.now());
        self.publish_health(pool, &health_state, ProbePermit::Keep);
    }

    /// Marks the worker as gone.
    pub(crate) fn leave(&self) {
        self.health_state.lock().set(HealthState::Gone);
    }

    /// Records the end of an attempt in the breaker.
    pub fn record_attempt(self: &Arc<Self>, pool: &Arc<WorkerPool>, end: AttemptEnd) {
        if end.verdict == HealthVerdict::Failure {
            self.recheck.suspect_replacement();
        }
        let mut health_state = self.health_state.lock();
        let Some(breaker) = &mut health_state.breaker else { return };
        let change = match end.kind {
            AttemptKind::Normal => breaker.record_attempt(end.at, end.sent_at, end.verdict),
            AttemptKind::Probe => breaker.record_probe(end.at, end.verdict),
        };
        match (change, end.kind) {
            (Some(state), _) => self.publish_breaker(pool, &health_state, state),
            (None, AttemptKind::Probe) => self.sync_routability(pool, &health_state, ProbePermit::Grant),
            (None, AttemptKind::Normal) => {}
        }
    }

    /// Half-opens an open breaker before its time, because no other worker is left. Returns whether a request may now be
    /// sent to the worker.
    fn force_probe(self: &Arc<Self>, pool: &Arc<WorkerPool>) -> bool {
        let mut health_state = self.health_state.lock();
        if health_state.health() != HealthState::Healthy || pool.excludes_weights_of(self) {
            return false;
        }
        match health_state.breaker.as_mut().and_then(CircuitBreaker::half_open) {
            Some(state) => self.publish_breaker(pool, &health_state, state),
            // A probe is in flight, but a request that no other worker can take may be another.
            None if health_state.breaker_state() == BreakerState::HalfOpen => {
                self.sync_routability(pool, &health_state, ProbePermit::Grant);
            }
            None => return false,
        }
        true
    }

    /// Half-opens the breaker if its open time has passed.
    fn open_elapsed(self: &Arc<Self>, pool: &Arc<WorkerPool>) {
        let mut health_state = self.health_state.lock();
        if let Some(state) = health_state.breaker.as_mut().and_then(|b| b.tick(pool.clock.now())) {
            self.publish_breaker(pool, &health_state, state);
        }
    }

    /// Counts a change of the breaker in the metrics.
    fn count_change(self: &Arc<Self>, pool: &WorkerPool, state: BreakerState) {
        for worker in pool.candidates.of(self) {
            worker.telemetry.metrics.breaker_changed(state);
        }
    }

    fn publish_breaker(
        self: &Arc<Self>,
        pool: &Arc<WorkerPool>,
        health_state: &WorkerHealth,
        state: BreakerState,
    ) {
        self.count_change(pool, state);
        self.sync_routability(pool, health_state, ProbePermit::Grant);
        let until = health_state.breaker.as_ref().and_then(CircuitBreaker::open_until);
        let (Some(until), true) = (until, state == BreakerState::Open) else {
            if pool.log.has_own_line(FleetEvent::BreakerEased, None) {
                info!(worker = %self.url, "breaker is {}", state.as_str());
            } else {
                debug!(worker = %self.url, "breaker is {}", state.as_str());
            }
            return;
        };
        if pool.log.has_own_line(FleetEvent::BreakerOpened, None) {
            warn!(worker = %self.url, "breaker is {}", state.as_str());
        } else {
            debug!(worker = %self.url, "breaker is {}", state.as_str());
        }
        self.evicted.notify_waiters();
        // At shutdown a response may be dropped outside a runtime; then no timer is needed.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (pool, worker) = (Arc::clone(pool), Arc::clone(self));
        pool.tasks.clone().spawn_on(
            async move {
                let cooled_down = tokio::time::sleep(until.since(pool.clock.now()));
                tokio::select! {
                    () = cooled_down => worker.open_elapsed(&pool),
                    () = worker.removed.cancelled() => {}
                }
            },
            &runtime,
        );
    }

    /// Notes and counts a failed check or connection; returns whether the last one failed for another reason, or not at
    /// all.
    fn note_failure(
        self: &Arc<Self>,
        pool: &WorkerPool,
        health_state: &mut WorkerHealth,
        failure: WorkerFailure,
    ) -> bool {
        for candidate in pool.candidates.of(self) {
            candidate.telemetry.metrics.check_failed(failure.reason);
        }
        health_state.note_failure(failure, pool.clock.now())
    }

    fn log_problem(
        &self,
        pool: &WorkerPool,
        health_state: &WorkerHealth,
        event: FleetEvent,
        message: &'static str,
    ) {
        let failure = health_state.problem().map(|problem| &problem.failure);
        let (reason, cause) = (failure.map(|f| f.reason.as_str()), failure.map(|f| f.message.as_str()));
        if pool.log.has_own_line(event, reason) {
            warn!(worker = %self.url, reason, cause, "{message}");
        } else {
            debug!(worker = %self.url, reason, cause, "{message}");
        }
    }

    /// Passes a new health state to the balancer and the log.
    fn publish_health(self: &Arc<Self>, pool: &WorkerPool, health_state: &WorkerHealth, permit: ProbePermit) {
        self.sync_routability(pool, health_state, permit);
        let health = health_state.health();
        let event = match health {
            HealthState::Unhealthy => {
                return self.log_problem(pool, health_state, FleetEvent::Unhealthy, "worker is unhealthy");
            }
            HealthState::NotReady => return self.log_readiness(pool, health_state),
            HealthState::Healthy => FleetEvent::Healthy,
            HealthState::Pending | HealthState::Draining | HealthState::Gone => FleetEvent::Draining,
        };
        if pool.log.has_own_line(event, None) {
            info!(worker = %self.url, "worker is {}", health.as_str());
        } else {
            debug!(worker = %self.url, "worker is {}", health.as_str());
        }
    }

    /// Updates the balancer after the candidates of the worker have changed.
    pub(crate) fn refresh_candidates(self: &Arc<Self>, pool: &WorkerPool) {
        self.sync_routability(pool, &self.health_state.lock(), ProbePermit::Keep);
    }

    /// Updates the balancer on whether the worker may be chosen.
    fn sync_routability(
        self: &Arc<Self>,
        pool: &WorkerPool,
        health_state: &WorkerHealth,
        permit: ProbePermit,
    ) {
        let candidates = pool.candidates.of(self);
        let mut balancer = pool.balancer.lock();
        let state = health_state.breaker_state();
        let gate = match (state, permit) {
            (BreakerState::HalfOpen, ProbePermit::Grant) => ProbeGate::READY,
            (BreakerState::HalfOpen, ProbePermit::Keep) => self.gate.0.load(Relaxed),
            (BreakerState::Closed | BreakerState::Open, _) => ProbeGate::OFF,
        };
        self.gate.0.store(gate, Relaxed);
        let passes = state == BreakerState::Closed || gate == ProbeGate::READY;
        let routable =
            health_state.health() == HealthState::Healthy && passes && !pool.excludes_weights_of(self);
        for worker in candidates {
            let change = FleetUpdate::Routable(worker.id, routable && !worker.is_removing());
            balancer.apply(pool.clock.now(), change);
        }
        drop(balancer);
        if routable {
            pool.unavailable.wake();
            pool.capacity.slot_released();
        }
    }
}

impl WorkerPool {
    /// Half-opens the breakers of all healthy workers except `tried`, for a request that no other worker can take. Returns
    /// whether there is such a worker.
    pub fn force_probe_all(self: &Arc<Self>, tried: &[WorkerId]) -> bool {
        let untried = self.candidates.all().into_iter().filter(|w| !tried.contains(&w.id));
        untried.filter(|worker| worker.worker.force_probe(self)).count() > 0
    }
}
