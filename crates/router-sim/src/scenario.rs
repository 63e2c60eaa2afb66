//! A scenario: the fleet, the routers, the load reports they get, and the incidents.

use crate::SimulatedFleet;
use crate::autoscaler::Autoscaler;
use router_core::{BatchWindow, OverloadBounds, Time};
use router_engine::EngineProfile;
use std::time::Duration;

/// How the routers learn the servers' load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadReporting {
    /// Whether each response reports the length of the waiting queue, as some SGLang builds do. Default true.
    pub on_responses: bool,
    /// How often every server is polled for its load. Default: never.
    pub poll: Option<Duration>,
}

impl Default for LoadReporting {
    fn default() -> Self {
        Self { on_responses: true, poll: None }
    }
}

/// What can happen to a deployment.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum IncidentKind {
    /// From now on every step of a server takes `factor` times as long.
    Slow {
        /// Its index.
        server: usize,
        /// Above 0; 1 is normal speed.
        factor: f64,
    },
    /// A server dies and loses its requests. All routers notice immediately and retry the requests on other servers.
    Die {
        /// Its index.
        server: usize,
    },
    /// A new, empty server joins with the next index.
    Join(EngineProfile),
    /// From now on load reports arrive this much later.
    DelayReports(Duration),
    /// From now on routers learn of first tokens and completions this much later; clients get them without delay.
    DelayCompletions(Duration),
}

/// One incident and when it happens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Incident {
    /// When it happens.
    pub at: Time,
    /// What happens.
    pub kind: IncidentKind,
}

/// A deployment and what happens to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// The servers.
    pub fleet: SimulatedFleet,
    /// Independent routers; each request goes to a random one. Default 1.
    pub routers: usize,
    /// How the routers learn the servers' load.
    pub reports: LoadReporting,
    /// From when on the routers take a server for overloaded. Default: [`OverloadBounds::STANDARD`], as in a real router.
    pub overload: OverloadBounds,
    /// The window whose requests the routers dispatch together. Default: none.
    pub batch_window: Option<BatchWindow>,
    /// The incidents, in any order.
    pub incidents: Vec<Incident>,
    /// How many times a request is retried after its server died. Default 3.
    pub retries: u32,
    /// What adds and removes servers; those it adds are of the fleet's kinds in turn. Default: none.
    pub autoscaler: Option<Autoscaler>,
}

impl Scenario {
    /// This fleet behind one router, without incidents.
    pub fn of(fleet: SimulatedFleet) -> Self {
        Self {
            fleet,
            routers: 1,
            reports: LoadReporting::default(),
            overload: OverloadBounds::STANDARD,
            batch_window: None,
            incidents: Vec::new(),
            retries: 3,
            autoscaler: None,
        }
    }

    /// Adds an incident at a time in seconds since the start.
    #[must_use]
    pub fn with(mut self, at_secs: f64, kind: IncidentKind) -> Self {
        self.incidents.push(Incident { at: Time::from_secs_f64(at_secs), kind });
        self
    }
}
