//! What routers see of the servers at fixed intervals: load reports, and how far streams are.

use super::event::SimEvent;
use super::{PendingReport, Simulation};
use router_core::PROGRESS_INTERVAL;
use router_engine::JobStage;

impl Simulation<'_> {
    /// Tells each router how far its streams are, as a live router counts their events.
    pub(super) fn report_progress(&mut self) {
        for server in 0..self.servers.len() {
            if !self.servers[server].alive {
                continue;
            }
            self.step(server);
            for job in self.servers[server].engine().jobs().filter(|job| job.stage == JobStage::Decode) {
                let request = self.in_flight.slot_mut(job.id.0 as u32);
                let Some(ticket) = &request.ticket else { continue };
                if self.load.requests[request.request].stream && self.completion_delay.is_zero() {
                    self.routers[request.router].balancer.progress(self.now, ticket, job.generated);
                }
            }
        }
        self.event_queue.push(self.now + PROGRESS_INTERVAL, SimEvent::Progress);
    }

    pub(super) fn poll(&mut self) {
        for server in 0..self.servers.len() {
            if !self.servers[server].alive {
                continue;
            }
            self.step(server);
            let report = self.servers[server].report(self.now + self.report_delay);
            for router in 0..self.routers.len() {
                self.reports.push(PendingReport { router, server, report });
                self.event_queue.push(self.now + self.report_delay, SimEvent::Report(self.reports.len() - 1));
            }
        }
        if let Some(interval) = self.scenario.reports.poll {
            self.event_queue.push(self.now + interval, SimEvent::Poll);
        }
    }
}
