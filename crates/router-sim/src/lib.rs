//! A discrete-event simulation of a whole installation: arrivals, the router's own [`router_core::Balancer`] and
//! policies, engines of [`router_engine`], completions.
//!
//! Pure and repeatable: time is virtual, all chance follows from a seed, and the same input gives the same output to
//! the bit. It holds no routing logic: what decides here is what decides live. It models no network and no bodies;
//! a request is its lengths, its prefix and its time.
//!
//! ```
//! use router_core::policy::RoundRobin;
//! use router_sim::{Arrivals, Fleet, Lengths, Scenario, Spread, simulate};
//!
//! let fleet: Fleet = "sglang_8b*2,sglang_1.5b*1".parse()?;
//! let lengths = Lengths { prompt: Spread::Uniform(50, 500), output: Spread::Fixed(100) };
//! let load = Arrivals::poisson(20.0).requests(200, lengths, 1);
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
mod chance;
mod contender;
mod experiment;
mod fidelity;
mod fleet;
mod oracle;
mod outcome;
mod replay;
mod scenario;
mod schedule;
mod server;
mod trace;
mod workload;
mod world;

pub use arrivals::{Arrivals, Lengths, NoSpread, PrefixGroups, Sessions, Spread};
pub use contender::{Brain, Contender};
pub use experiment::{Cell, Estimate, Experiment, Measure, Ran, Table, Watch};
pub use fidelity::{REPLAYED, Replayed};
pub use fleet::Fleet;
pub use oracle::OracleWeights;
pub use outcome::{Latencies, Outcome, Record, Slo, Summary};
pub use replay::Assigned;
pub use router_engine::FleetError;
pub use scenario::{Incident, Reports, Scenario, What};
pub use schedule::{ScheduleError, Scheduled};
pub use trace::{Slice, TraceError, read_trace};
pub use workload::{Request, Start, Workload};
pub use world::simulate;
