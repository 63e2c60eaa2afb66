//! Whether a worker may be chosen: what checks, connections and ends of requests make of it.
//!
//! The balancer is told while the worker's standing is locked, so that two changes cannot reach it in the wrong order.
//! So the standing is locked before the balancer, and never while the balancer is.

use super::breaker::{Breaker, Verdict};
use super::health::Check;
use super::{Health, Process, Standing, Worker, Workers};
use crate::router::Shared;
use router_config::HealthConfig;
use router_core::{Balancer, FleetUpdate, Time, WorkerId};
use router_telemetry::BreakerState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tracing::{info, warn};

/// Whether the next request that chooses a worker is a probe of its half-open breaker.
///
/// It changes only while the balancer is locked, so a worker that lets one probe in is never chosen for a second.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

impl Gate {
    /// Requests are no probes.
    const OFF: u8 = 0;
    /// The next one is.
    const READY: u8 = 1;
    /// One is on its way; until it ends there is no other.
    const TAKEN: u8 = 2;
}

/// What a request is to the worker that it was sent to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    /// One of many.
    Plain,
    /// The one that a half-open breaker lets through.
    Probe,
}

/// How an attempt ended, as far as its worker's breaker cares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) sent_at: Time,
    pub(crate) at: Time,
    pub(crate) seat: Seat,
    pub(crate) verdict: Verdict,
}

/// How a worker's breaker stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BreakerView {
    pub(crate) state: BreakerState,
    /// Faults within the window.
    pub(crate) faults: u64,
    /// Good ends within the window.
    pub(crate) good: u64,
    /// When it will be probed, if it is open.
    pub(crate) open_until: Option<Time>,
}

/// What becomes of a half-open breaker's gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// The next request is a probe.
    Next,
    /// A probe that is on its way is waited for.
    Same,
}

impl Worker {
    /// Takes a request's seat, while the balancer that has just chosen this worker is still locked.
    pub(crate) fn enter(&self, workers: &Workers, balancer: &mut Balancer, now: Time) -> Seat {
        if self.gate.0.load(Relaxed) != Gate::READY {
            return Seat::Plain;
        }
        self.gate.0.store(Gate::TAKEN, Relaxed);
        for candidate in workers.of(self) {
            balancer.apply(now, FleetUpdate::Routable(candidate.id, false));
        }
        Seat::Probe
    }
}

impl Process {
    /// How its breaker stands; absent where breakers are switched off.
    pub(crate) fn breaker(&self, now: Time) -> Option<BreakerView> {
        let standing = self.standing.lock();
        let breaker = standing.breaker.as_ref()?;
        let (faults, good) = breaker.counts(now);
        Some(BreakerView { state: breaker.state(), faults, good, open_until: breaker.open_until() })
    }

    /// A health check has ended. Tells whether it brought the worker into service.
    pub(super) fn checked(self: &Arc<Self>, shared: &Shared, outcome: Check, config: &HealthConfig) -> bool {
        let mut standing = self.standing.lock();
        let change = standing.check(outcome, config);
        if outcome.is_hopeless() && standing.health() == Health::Unhealthy {
            self.trouble.notify_waiters();
        }
        let Some(health) = change else { return false };
        // A breaker that opened on a worker that was down says nothing about the one that came up.
        let relented = health == Health::Healthy
            && standing.breaker.as_mut().and_then(Breaker::relent).is_some_and(|state| {
                self.count(shared, state);
                true
            });
        let turn = if relented { Turn::Next } else { Turn::Same };
        self.announce(shared, &standing, turn);
        health == Health::Healthy
    }

    /// Takes the worker for healthy without a check.
    pub(super) fn trust(self: &Arc<Self>, shared: &Shared) {
        let mut standing = self.standing.lock();
        standing.become_(Health::Healthy);
        self.announce(shared, &standing, Turn::Same);
    }

    /// The worker refused a connection: it gets no more requests until its checks pass.
    ///
    /// Without health checks nothing could bring it back, so then it is the breaker's business.
    pub(crate) fn unreachable(self: &Arc<Self>, shared: &Shared) {
        if self.health_config.is_none() {
            return;
        }
        let mut standing = self.standing.lock();
        if standing.unreachable().is_some() {
            self.announce(shared, &standing, Turn::Same);
        }
        drop(standing);
        self.doubt();
    }

    /// The worker leaves: it gets no new requests, and no check brings it back.
    pub(super) fn drain(self: &Arc<Self>, shared: &Shared) {
        let mut standing = self.standing.lock();
        standing.become_(Health::Draining);
        self.announce(shared, &standing, Turn::Same);
    }

    /// The worker has left.
    pub(super) fn leave(&self) {
        self.standing.lock().become_(Health::Gone);
    }

    /// An attempt has ended.
    pub(crate) fn ended(self: &Arc<Self>, shared: &Arc<Shared>, end: End) {
        let mut standing = self.standing.lock();
        let Some(breaker) = &mut standing.breaker else { return };
        let change = match end.seat {
            Seat::Plain => breaker.ended(end.at, end.sent_at, end.verdict),
            Seat::Probe => breaker.probed(end.at, end.verdict),
        };
        match (change, end.seat) {
            (Some(state), _) => self.breaker_became(shared, &standing, state),
            (None, Seat::Probe) => self.settle(shared, &standing, Turn::Next),
            (None, Seat::Plain) => {}
        }
    }

    /// Half-opens an open breaker before its time, because there is nobody else. Tells whether a request may now be
    /// sent to the worker.
    fn relent(self: &Arc<Self>, shared: &Arc<Shared>) -> bool {
        let mut standing = self.standing.lock();
        if standing.health() != Health::Healthy {
            return false;
        }
        match standing.breaker.as_mut().and_then(Breaker::relent) {
            Some(state) => self.breaker_became(shared, &standing, state),
            // A probe is on its way, but a request that has nowhere else to go is worth another.
            None if standing.breaker_state() == BreakerState::HalfOpen => {
                self.settle(shared, &standing, Turn::Next);
            }
            None => return false,
        }
        true
    }

    /// The time of an open breaker may have come.
    fn cooled(self: &Arc<Self>, shared: &Arc<Shared>) {
        let mut standing = self.standing.lock();
        if let Some(state) = standing.breaker.as_mut().and_then(|b| b.tick(shared.clock.now())) {
            self.breaker_became(shared, &standing, state);
        }
    }

    /// Counts a change of the breaker.
    fn count(self: &Arc<Self>, shared: &Shared, state: BreakerState) {
        for worker in shared.workers.of(self) {
            worker.telemetry.metrics.breaker_changed(state);
        }
    }

    fn breaker_became(self: &Arc<Self>, shared: &Arc<Shared>, standing: &Standing, state: BreakerState) {
        self.count(shared, state);
        self.settle(shared, standing, Turn::Next);
        let until = standing.breaker.as_ref().and_then(Breaker::open_until);
        let (Some(until), true) = (until, state == BreakerState::Open) else {
            info!(worker = %self.url, "breaker is {}", state.as_str());
            return;
        };
        warn!(worker = %self.url, "breaker is {}", state.as_str());
        self.trouble.notify_waiters();
        // An answer may be dropped where no runtime is left; then nobody needs the worker any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, worker) = (Arc::clone(shared), Arc::clone(self));
        shared.tasks.clone().spawn_on(
            async move {
                let cool = tokio::time::sleep(until.since(shared.clock.now()));
                tokio::select! {
                    () = cool => worker.cooled(&shared),
                    () = worker.gone.cancelled() => {}
                }
            },
            &runtime,
        );
    }

    /// Makes known what the worker's health has become.
    fn announce(self: &Arc<Self>, shared: &Shared, standing: &Standing, turn: Turn) {
        self.settle(shared, standing, turn);
        let health = standing.health();
        if health == Health::Unhealthy {
            warn!(worker = %self.url, "worker is {}", health.as_str());
        } else {
            info!(worker = %self.url, "worker is {}", health.as_str());
        }
    }

    /// Its candidates have changed.
    pub(super) fn rearranged(self: &Arc<Self>, shared: &Shared) {
        self.settle(shared, &self.standing.lock(), Turn::Same);
    }

    /// Tells the balancer whether the worker may be chosen.
    fn settle(self: &Arc<Self>, shared: &Shared, standing: &Standing, turn: Turn) {
        let candidates = shared.workers.of(self);
        let mut balancer = shared.balancer.lock();
        let state = standing.breaker_state();
        let gate = match (state, turn) {
            (BreakerState::HalfOpen, Turn::Next) => Gate::READY,
            (BreakerState::HalfOpen, Turn::Same) => self.gate.0.load(Relaxed),
            (BreakerState::Closed | BreakerState::Open, _) => Gate::OFF,
        };
        self.gate.0.store(gate, Relaxed);
        let passes = state == BreakerState::Closed || gate == Gate::READY;
        let routable = standing.health() == Health::Healthy && passes;
        for worker in candidates {
            let change = FleetUpdate::Routable(worker.id, routable && !worker.is_dismissed());
            balancer.apply(shared.clock.now(), change);
        }
        drop(balancer);
        if routable {
            shared.workers.arrivals.notify_waiters();
            shared.admission.seats.freed();
        }
    }
}

impl Shared {
    /// Lets requests through to healthy workers whose breakers are not closed, for a request that nobody else is left
    /// for. Tells whether there are any but `tried`.
    pub(crate) fn last_resort(self: &Arc<Self>, tried: &[WorkerId]) -> bool {
        let untried = self.workers.all().into_iter().filter(|w| !tried.contains(&w.id));
        untried.filter(|worker| worker.relent(self)).count() > 0
    }
}
