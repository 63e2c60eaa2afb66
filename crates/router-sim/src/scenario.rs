//! Where the load falls: the fleet, who hears what, and what goes wrong when.

use crate::SimulatedFleet;
use router_core::Time;
use router_engine::EngineProfile;
use std::time::Duration;

/// What the routers hear of the servers' load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadReporting {
    /// Whether each answer tells the length of the waiting queue, as some SGLang builds do. Default true.
    pub on_answers: bool,
    /// How often every server is asked for its load. Default: never.
    pub poll: Option<Duration>,
}

impl Default for LoadReporting {
    fn default() -> Self {
        Self { on_answers: true, poll: None }
    }
}

/// What can happen to an installation.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum IncidentKind {
    /// Every step of a server takes so many times as long from now on; 1 is normal again.
    Slow {
        /// Its index.
        server: usize,
        /// How many times.
        factor: f64,
    },
    /// A server is gone with everything in it. All routers notice at once and send its requests elsewhere.
    Die {
        /// Its index.
        server: usize,
    },
    /// A server comes up, empty: a new one, with the next free index.
    Join(EngineProfile),
    /// Load reports arrive so much later from now on.
    DelayReports(Duration),
    /// First tokens and ends of answers are told to the policy so much later from now on; clients get them in time.
    DelayCompletions(Duration),
}

/// One thing that happens at its time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Incident {
    /// When.
    pub at: Time,
    /// What.
    pub what: IncidentKind,
}

/// An installation and what happens to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// The servers.
    pub fleet: SimulatedFleet,
    /// Routers that do not see each other; each request comes to one of them by lot. Default 1.
    pub routers: usize,
    /// What they hear.
    pub reports: LoadReporting,
    /// What happens.
    pub incidents: Vec<Incident>,
    /// How often a request is sent again after its server died. Default 3.
    pub retries: u32,
}

impl Scenario {
    /// This fleet behind one router; nothing happens to it.
    pub fn of(fleet: SimulatedFleet) -> Self {
        Self { fleet, routers: 1, reports: LoadReporting::default(), incidents: Vec::new(), retries: 3 }
    }

    /// The same, and something happens.
    #[must_use]
    pub fn with(mut self, at_secs: f64, what: IncidentKind) -> Self {
        self.incidents.push(Incident { at: Time::from_secs_f64(at_secs), what });
        self
    }
}
