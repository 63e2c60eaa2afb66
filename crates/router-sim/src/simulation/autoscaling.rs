//! Workers that come and go while the load runs.

use super::Simulation;
use super::event::SimEvent;
use crate::autoscaler::{AutoscaleMetric, AutoscalerState};
use crate::outcome::WorkerUse;
use router_core::{FleetUpdate, Time, WaitingRequests};

/// A worker that somebody pays for.
#[derive(Clone, Copy, Debug)]
struct PaidWorker {
    /// Its server, once it is ready.
    server: Option<usize>,
    since: Time,
    /// It gets no more requests and leaves when those that it has have ended.
    drains: bool,
}

/// The workers of a run, and what scales them.
#[derive(Debug, Default)]
pub(super) struct WorkerPayroll {
    scaler: Option<AutoscalerState>,
    /// By the order in which they were ordered; absent once they are gone.
    workers: Vec<Option<PaidWorker>>,
    used: WorkerUse,
}

impl WorkerPayroll {
    pub(super) fn new(scaler: Option<AutoscalerState>) -> Self {
        Self { scaler, ..Self::default() }
    }

    /// A server is there from now on, which was not ordered.
    pub(super) fn present(&mut self, now: Time, server: usize) {
        self.workers.push(Some(PaidWorker { server: Some(server), since: now, drains: false }));
        self.counted();
    }

    /// A server is gone.
    pub(super) fn gone(&mut self, now: Time, server: usize) {
        let its = |w: &Option<PaidWorker>| w.is_some_and(|w| w.server == Some(server));
        if let Some(place) = self.workers.iter().position(its) {
            self.dismiss(now, place);
        }
    }

    fn dismiss(&mut self, now: Time, place: usize) {
        if let Some(worker) = self.workers[place].take() {
            self.used.secs += now.secs_since(worker.since);
        }
    }

    fn counted(&mut self) {
        let paid = self.workers.iter().flatten().count();
        self.used.most = self.used.most.max(paid);
    }

    /// Workers that take requests or will.
    fn active(&self) -> u32 {
        self.workers.iter().flatten().filter(|worker| !worker.drains).count() as u32
    }

    /// What was used up to now.
    pub(super) fn used(&self, now: Time) -> WorkerUse {
        let present: f64 = self.workers.iter().flatten().map(|worker| now.secs_since(worker.since)).sum();
        WorkerUse { secs: self.used.secs + present, ..self.used }
    }
}

impl Simulation<'_> {
    /// Reads the metric and orders or dismisses workers.
    pub(super) fn autoscale(&mut self) {
        let Some(mut scaler) = self.payroll.scaler.take() else { return };
        let Some(autoscaler) = self.scenario.autoscaler else { return };
        self.dismiss_drained();
        let metric = self.metric(autoscaler.rule.metric);
        let active = self.payroll.active();
        let wanted = scaler.decide(self.now, active, metric);
        self.payroll.scaler = Some(scaler);
        for _ in active..wanted {
            self.payroll.workers.push(Some(PaidWorker { server: None, since: self.now, drains: false }));
            let order = self.payroll.workers.len() - 1;
            self.event_queue.push(self.now + autoscaler.startup, SimEvent::Ready(order));
        }
        self.payroll.used.started += wanted.saturating_sub(active) as usize;
        for _ in wanted..active {
            self.release();
        }
        self.payroll.counted();
        self.event_queue.push(self.now + autoscaler.interval, SimEvent::Autoscale);
    }

    /// A worker that was ordered is ready, unless it was dismissed before.
    pub(super) fn worker_ready(&mut self, order: usize) {
        if self.payroll.workers[order].is_none() {
            return;
        }
        let kinds = &self.scenario.fleet.servers;
        let profile = kinds[order % kinds.len()];
        let server = self.start_server(&profile);
        if let Some(worker) = &mut self.payroll.workers[order] {
            worker.server = Some(server);
        }
    }

    /// Dismisses the newest worker; one that is ready ends its requests first.
    fn release(&mut self) {
        let newest = self.payroll.workers.iter().rposition(|worker| worker.is_some_and(|w| !w.drains));
        let Some((place, worker)) =
            newest.and_then(|place| Some((place, self.payroll.workers[place].as_mut()?)))
        else {
            return;
        };
        let Some(server) = worker.server else { return self.payroll.dismiss(self.now, place) };
        worker.drains = true;
        for router in &mut self.routers {
            router.balancer.apply(self.now, FleetUpdate::Routable(router.ids[server], false));
        }
    }

    fn dismiss_drained(&mut self) {
        for place in 0..self.payroll.workers.len() {
            let Some(PaidWorker { server: Some(server), drains: true, .. }) = self.payroll.workers[place]
            else {
                continue;
            };
            self.step(server);
            let is_idle = self.servers[server].engine().jobs().next().is_none();
            let is_known = self.routers.iter().all(|router| {
                router.balancer.view(router.ids[server]).is_none_or(|view| view.in_flight == 0)
            });
            if is_idle && is_known {
                self.servers[server].alive = false;
                for router in &mut self.routers {
                    router.balancer.apply(self.now, FleetUpdate::Leave(router.ids[server]));
                }
                self.payroll.dismiss(self.now, place);
            }
        }
    }

    /// The metric, summed over the fleet or over the routers.
    fn metric(&mut self, metric: AutoscaleMetric) -> Option<f64> {
        let now = self.now;
        match metric {
            AutoscaleMetric::Signal => {
                let needed = self.routers.iter_mut().map(|router| {
                    let signals = router.balancer.scaling(now, WaitingRequests::default());
                    signals.workers_needed.ok().map(|needed| needed.workers)
                });
                needed.sum()
            }
            AutoscaleMetric::Queue => {
                let mut waiting = 0.0;
                for server in 0..self.servers.len() {
                    if self.servers[server].alive {
                        self.step(server);
                        waiting += f64::from(self.servers[server].engine().load().waiting);
                    }
                }
                Some(waiting)
            }
            AutoscaleMetric::InFlight => {
                Some(self.routers.iter().map(|router| router.balancer.in_flight() as f64).sum())
            }
            // The target is the number of workers, and so is its own square over it.
            AutoscaleMetric::Fixed => self.scenario.autoscaler.map(|scaler| scaler.rule.target.powi(2)),
        }
    }
}
