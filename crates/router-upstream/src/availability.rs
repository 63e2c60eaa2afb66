//! Whether a worker may be chosen: what checks, connections and ends of requests make of it.
//!
//! The balancer is told while the worker's standing is locked, so that two changes cannot reach it in the wrong order.
//! So the standing is locked before the balancer, and never while the balancer is.

use crate::candidate::Candidate;
use crate::health::{Breaker, CheckOutcome, HealthState, HealthVerdict, ProbeGate, WorkerHealth};
use crate::pool::WorkerPool;
use crate::table::CandidateTable;
use crate::worker::Worker;
use router_config::HealthConfig;
use router_core::{Balancer, FleetUpdate, Time, WorkerId};
use router_telemetry::BreakerState;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tracing::{info, warn};

/// What a request is to the worker that it was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptKind {
    /// One of many.
    Normal,
    /// The one that a half-open breaker lets through.
    Probe,
}

/// How an attempt ended, as far as its worker's breaker cares.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    pub sent_at: Time,
    pub at: Time,
    pub kind: AttemptKind,
    pub verdict: HealthVerdict,
}

/// How a worker's breaker stands.
#[derive(Clone, Copy, Debug)]
pub struct BreakerStatus {
    pub state: BreakerState,
    /// Faults within the window.
    pub faults: u64,
    /// Good ends within the window.
    pub good: u64,
    /// When it will be probed, if it is open.
    pub open_until: Option<Time>,
}

/// What becomes of a half-open breaker's gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProbePermit {
    /// The next request is a probe.
    Grant,
    /// A probe that is on its way is waited for.
    Keep,
}

impl Candidate {
    /// Takes a request's seat, while the balancer that has just chosen this worker is still locked.
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
    /// How its breaker stands; absent where breakers are switched off.
    pub fn breaker(&self, now: Time) -> Option<BreakerStatus> {
        let health_state = self.health_state.lock();
        let breaker = health_state.breaker.as_ref()?;
        let (faults, good) = breaker.counts(now);
        Some(BreakerStatus { state: breaker.state(), faults, good, open_until: breaker.open_until() })
    }

    /// A health check has ended. Tells whether it brought the worker into service.
    pub(crate) fn checked(
        self: &Arc<Self>,
        pool: &WorkerPool,
        outcome: CheckOutcome,
        config: &HealthConfig,
    ) -> bool {
        let mut health_state = self.health_state.lock();
        let change = health_state.check(outcome, config);
        if outcome.is_hopeless() && health_state.health() == HealthState::Unhealthy {
            self.evicted.notify_waiters();
        }
        let Some(health) = change else { return false };
        // A breaker that opened on a worker that was down says nothing about the one that came up.
        let relented = health == HealthState::Healthy
            && health_state.breaker.as_mut().and_then(Breaker::half_open).is_some_and(|state| {
                self.count(pool, state);
                true
            });
        let turn = if relented { ProbePermit::Grant } else { ProbePermit::Keep };
        self.publish_health(pool, &health_state, turn);
        health == HealthState::Healthy
    }

    /// Takes the worker for healthy without a check.
    pub(crate) fn mark_healthy(self: &Arc<Self>, pool: &WorkerPool) {
        let mut health_state = self.health_state.lock();
        health_state.set(HealthState::Healthy);
        self.publish_health(pool, &health_state, ProbePermit::Keep);
    }

    /// The worker refused a connection: it gets no more requests until its checks pass.
    ///
    /// Without health checks nothing could bring it back, so then it is the breaker's business.
    pub fn unreachable(self: &Arc<Self>, pool: &WorkerPool) {
        if self.health_config.is_none() {
            return;
        }
        let mut health_state = self.health_state.lock();
        if health_state.unreachable().is_some() {
            self.publish_health(pool, &health_state, ProbePermit::Keep);
        }
        drop(health_state);
        self.request_recheck();
    }

    /// The worker leaves: it gets no new requests, and no check brings it back.
    pub(crate) fn drain(self: &Arc<Self>, pool: &WorkerPool) {
        let mut health_state = self.health_state.lock();
        health_state.set(HealthState::Draining);
        self.publish_health(pool, &health_state, ProbePermit::Keep);
    }

    /// The worker has left.
    pub(crate) fn leave(&self) {
        self.health_state.lock().set(HealthState::Gone);
    }

    /// An attempt has ended.
    pub fn ended(self: &Arc<Self>, pool: &Arc<WorkerPool>, end: AttemptEnd) {
        let mut health_state = self.health_state.lock();
        let Some(breaker) = &mut health_state.breaker else { return };
        let change = match end.kind {
            AttemptKind::Normal => breaker.ended(end.at, end.sent_at, end.verdict),
            AttemptKind::Probe => breaker.probed(end.at, end.verdict),
        };
        match (change, end.kind) {
            (Some(state), _) => self.breaker_became(pool, &health_state, state),
            (None, AttemptKind::Probe) => self.sync_routability(pool, &health_state, ProbePermit::Grant),
            (None, AttemptKind::Normal) => {}
        }
    }

    /// Half-opens an open breaker before its time, because there is nobody else. Tells whether a request may now be
    /// sent to the worker.
    fn force_probe(self: &Arc<Self>, pool: &Arc<WorkerPool>) -> bool {
        let mut health_state = self.health_state.lock();
        if health_state.health() != HealthState::Healthy {
            return false;
        }
        match health_state.breaker.as_mut().and_then(Breaker::half_open) {
            Some(state) => self.breaker_became(pool, &health_state, state),
            // A probe is on its way, but a request that has nowhere else to go is worth another.
            None if health_state.breaker_state() == BreakerState::HalfOpen => {
                self.sync_routability(pool, &health_state, ProbePermit::Grant);
            }
            None => return false,
        }
        true
    }

    /// The time of an open breaker may have come.
    fn open_elapsed(self: &Arc<Self>, pool: &Arc<WorkerPool>) {
        let mut health_state = self.health_state.lock();
        if let Some(state) = health_state.breaker.as_mut().and_then(|b| b.tick(pool.clock.now())) {
            self.breaker_became(pool, &health_state, state);
        }
    }

    /// Counts a change of the breaker.
    fn count(self: &Arc<Self>, pool: &WorkerPool, state: BreakerState) {
        for worker in pool.candidates.of(self) {
            worker.telemetry.metrics.breaker_changed(state);
        }
    }

    fn breaker_became(
        self: &Arc<Self>,
        pool: &Arc<WorkerPool>,
        health_state: &WorkerHealth,
        state: BreakerState,
    ) {
        self.count(pool, state);
        self.sync_routability(pool, health_state, ProbePermit::Grant);
        let until = health_state.breaker.as_ref().and_then(Breaker::open_until);
        let (Some(until), true) = (until, state == BreakerState::Open) else {
            info!(worker = %self.url, "breaker is {}", state.as_str());
            return;
        };
        warn!(worker = %self.url, "breaker is {}", state.as_str());
        self.evicted.notify_waiters();
        // An answer may be dropped where no runtime is left; then nobody needs the worker any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (pool, worker) = (Arc::clone(pool), Arc::clone(self));
        pool.tasks.clone().spawn_on(
            async move {
                let cool = tokio::time::sleep(until.since(pool.clock.now()));
                tokio::select! {
                    () = cool => worker.open_elapsed(&pool),
                    () = worker.removed.cancelled() => {}
                }
            },
            &runtime,
        );
    }

    /// Makes known what the worker's health has become.
    fn publish_health(self: &Arc<Self>, pool: &WorkerPool, health_state: &WorkerHealth, turn: ProbePermit) {
        self.sync_routability(pool, health_state, turn);
        let health = health_state.health();
        if health == HealthState::Unhealthy {
            warn!(worker = %self.url, "worker is {}", health.as_str());
        } else {
            info!(worker = %self.url, "worker is {}", health.as_str());
        }
    }

    /// Its candidates have changed.
    pub(crate) fn refresh_candidates(self: &Arc<Self>, pool: &WorkerPool) {
        self.sync_routability(pool, &self.health_state.lock(), ProbePermit::Keep);
    }

    /// Tells the balancer whether the worker may be chosen.
    fn sync_routability(self: &Arc<Self>, pool: &WorkerPool, health_state: &WorkerHealth, turn: ProbePermit) {
        let candidates = pool.candidates.of(self);
        let mut balancer = pool.balancer.lock();
        let state = health_state.breaker_state();
        let gate = match (state, turn) {
            (BreakerState::HalfOpen, ProbePermit::Grant) => ProbeGate::READY,
            (BreakerState::HalfOpen, ProbePermit::Keep) => self.gate.0.load(Relaxed),
            (BreakerState::Closed | BreakerState::Open, _) => ProbeGate::OFF,
        };
        self.gate.0.store(gate, Relaxed);
        let passes = state == BreakerState::Closed || gate == ProbeGate::READY;
        let routable = health_state.health() == HealthState::Healthy && passes;
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
    /// Lets requests through to healthy workers whose breakers are not closed, for a request that nobody else is left
    /// for. Tells whether there are any but `tried`.
    pub fn force_probe_all(self: &Arc<Self>, tried: &[WorkerId]) -> bool {
        let untried = self.candidates.all().into_iter().filter(|w| !tried.contains(&w.id));
        untried.filter(|worker| worker.worker.force_probe(self)).count() > 0
    }
}
