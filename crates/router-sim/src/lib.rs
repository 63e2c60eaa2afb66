//! A discrete-event simulation of a whole deployment: arrivals, the router's own [`router_core::Balancer`] and
//! policies, engines of [`router_engine`], completions.
//!
//! Pure and repeatable: time is virtual, all randomness follows from a seed, and the same input gives the same output,
//! bit for bit. It contains no routing logic: the code that decides here is the code that decides in the live router. It
//! models no network and no bodies: a request is its lengths, its prefix and its arrival time.
//!
//! The modules, top down; each uses only those below it:
//!
//! ```text
//! autoscale_experiment              autoscalers x seeds -> worker-hours and misses
//! experiment                        contenders x seeds -> comparison table
//! contender                         a policy or the oracle, by name
//! simulation                        the event loop: event queue, requests in flight
//! decision_maker  oracle            what decides
//! server                            one engine and its wake-ups
//! schedule                          incidents as users type them
//! scenario  outcome  autoscaler     what goes in, what comes out
//! rate_curve                        a day, or steps, over a load
//! clients                           synthetic workloads of several clients
//! arrivals  trace                   synthetic and recorded workloads
//! workload  fleet  distributions    plain data
//! ```
//!
//! `assigned` (a policy that repeats recorded choices) and `fidelity` (the accuracy of the engine model) stand alone.
//!
//! ```
//! use router_core::policy::RoundRobin;
//! use router_sim::{ArrivalProcess, LengthDistribution, RequestLengths, Scenario, SimulatedFleet, simulate};
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
mod autoscale_experiment;
mod autoscaler;
mod clients;
mod contender;
mod decision_maker;
mod distributions;
mod experiment;
mod fidelity;
mod fleet;
mod oracle;
mod outcome;
mod rate_curve;
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
pub use autoscale_experiment::{AutoscaleExperiment, AutoscaleResult, EqualMissComparison, at_equal_misses};
pub use autoscaler::{AutoscaleMetric, AutoscaleRule, AutoscaleRuleError, Autoscaler};
pub use clients::{ClientMix, ClientMixError, ClientProfile, ClientRequest};
pub use contender::Contender;
pub use decision_maker::DecisionMaker;
pub use experiment::{
    ComparisonTable, ContenderResult, Experiment, ExperimentObserver, FinishedRun, MeanEstimate,
    SummaryMetric,
};
pub use fidelity::{REPLAYED_RUNS, ReplayedRun};
pub use fleet::SimulatedFleet;
pub use oracle::OracleWeights;
pub use outcome::{LatencySummary, SimulatedRecord, SimulationOutcome, SimulationSummary, WorkerUse};
pub use rate_curve::{RateCurve, RateCurveError};
pub use router_core::Slo;
pub use router_engine::FleetError;
pub use scenario::{Incident, IncidentKind, LoadReporting, Scenario};
pub use schedule::{ScheduledEvent, ScheduledEventError};
pub use simulation::simulate;
pub use trace::{TraceError, TraceSlice, read_trace};
pub use workload::{RequestStart, SimulatedRequest, Workload, WorkloadClient};
