//! What happens to servers while the load runs.

use super::Simulation;
use super::event::SimEvent;
use super::inflight::InFlightRef;
use crate::scenario::IncidentKind;
use router_core::{AttemptResult, FleetUpdate, Outcome};
use router_engine::JobId;

impl Simulation<'_> {
    pub(super) fn apply_incident(&mut self, kind: IncidentKind) {
        match kind {
            IncidentKind::Slow { server, factor } => {
                if let Some(server) = self.servers.get_mut(server) {
                    server.set_slowdown(factor);
                }
            }
            IncidentKind::Die { server } => self.kill_server(server),
            IncidentKind::Join(profile) => self.add_server(&profile),
            IncidentKind::DelayReports(delay) => self.report_delay = delay,
            IncidentKind::DelayCompletions(delay) => self.completion_delay = delay,
        }
    }

    fn kill_server(&mut self, server: usize) {
        if self.servers.get(server).is_none_or(|s| !s.alive) {
            return;
        }
        self.step(server);
        self.servers[server].alive = false;
        self.payroll.gone(self.now, server);
        for router in &mut self.routers {
            router.balancer.apply(self.now, FleetUpdate::Leave(router.ids[server]));
        }
        for slot in 0..self.in_flight.slots() {
            let lost = self.in_flight.slot_mut(slot);
            let ended = lost.finish.status == Some(200);
            if lost.server != server || lost.ticket.is_none() || ended {
                continue;
            }
            lost.finish = AttemptResult::of(Outcome::Failed);
            lost.first_token_at = None;
            let (request, generation) = (lost.request, lost.generation);
            self.servers[server].abort(self.now, JobId(u64::from(slot)));
            self.report_end(InFlightRef { slot, generation });
            if self.records[request].is_some_and(|r| r.attempts <= self.scenario.retries) {
                self.event_queue.push(self.now, SimEvent::Arrival(request));
            } else {
                self.fail(request);
            }
        }
    }
}
