//! One simulated router.

use crate::scenario::Scenario;
use router_core::{Balancer, Policy, Time, WorkerId, WorkerInfo};

/// A balancer, and which of its workers is which server.
#[derive(Debug)]
pub(super) struct SimulatedRouter {
    pub(super) balancer: Balancer,
    /// By server index.
    pub(super) ids: Vec<WorkerId>,
    /// Server index by slot.
    pub(super) servers: Vec<usize>,
}

impl SimulatedRouter {
    pub(super) fn new(policy: Box<dyn Policy>, seed: u64, scenario: &Scenario) -> Self {
        let mut balancer = Balancer::new(policy, seed);
        let bounds = scenario.overload;
        if let Some(autoscaler) = &scenario.autoscaler {
            balancer.set_scaling(autoscaler.scaling);
        }
        balancer.set_batch_window(scenario.batch_window);
        balancer.set_overload_bounds(scenario.reports.poll.map_or(bounds, |poll| bounds.polled_every(poll)));
        Self { balancer, ids: Vec::new(), servers: Vec::new() }
    }

    pub(super) fn join(&mut self, now: Time, server: usize, info: &WorkerInfo) {
        let id = self.balancer.join(now, info.clone());
        self.ids.push(id);
        self.servers.resize(self.servers.len().max(id.slot() + 1), server);
        self.servers[id.slot()] = server;
    }
}
