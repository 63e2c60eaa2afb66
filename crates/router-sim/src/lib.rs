//! A discrete-event simulation of a whole installation: arrivals, the router's own [`router_core::Balancer`] and
//! policies, engines of [`router_engine`], completions.
//!
//! Pure and repeatable: time is virtual, all chance follows from a seed, and the same input gives the same output to
//! the bit. It holds no routing logic: what decides here is what decides live. It models no network and no bodies;
//! a request is its lengths, its prefix and its time.
//!
//! ```
//! use router_core::policy::RoundRobin;
//! use router_sim::{ArrivalProcess, SimulatedFleet, RequestLengths, Scenario, LengthDistribution, simulate};
//!
//! let fleet: SimulatedFleet = "sglang_8b*2,sglang_1.5b*1".parse()?;
//! let lengths = RequestLengths { prompt: LengthDistribution::Uniform(50, 500), output: LengthDistribution::Fixed(100) };
//! let load = ArrivalProcess::poisson(20.0).requests(200, lengths, 1);
//! let run = simulate(&Scenario::of(fleet), &load, &|| Box::new(RoundRobin::default()), 1);
//! assert_eq!(run.summary().completed, 200);
//! # Ok::<(), router_sim::FleetError>(())
//! ```
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times convert at stated, bounded ranges"
)]

mod arrivals;
mod assigned;
mod contender;
mod distributions;
mod experiment;
mod fidelity;
mod fleet;
mod oracle;
mod outcome;
mod scenario;
mod schedule;
mod server;
mod simulation;
mod trace;
mod workload;

pub use arrivals::{
    ArrivalProcess, ChatSessions, LengthDistribution, LengthDistributionError, PrefixGroups, RequestLengths,
};
pub use assigned::AssignedPolicy;
pub use contender::{Contender, DecisionMaker};
pub use experiment::{
    ComparisonTable, ContenderResult, Experiment, ExperimentObserver, FinishedRun, MeanEstimate,
    SummaryMetric,
};
pub use fidelity::{REPLAYED_RUNS, ReplayedRun};
pub use fleet::SimulatedFleet;
pub use oracle::OracleWeights;
pub use outcome::{LatencySummary, SimulatedRecord, SimulationOutcome, SimulationSummary, Slo};
pub use router_engine::FleetError;
pub use scenario::{Incident, IncidentKind, LoadReporting, Scenario};
pub use schedule::{ScheduledEvent, ScheduledEventError};
pub use simulation::simulate;
pub use trace::{TraceError, TraceSlice, read_trace};
pub use workload::{RequestStart, SimulatedRequest, Workload};
