//! The state of a running router as `GET /v1/live` sends it: types of the events, and what follows from them.
//!
//! A viewer gets one [`Snapshot`] (event `snapshot`), then twice a second a [`Delta`] (event `delta`) with what has changed.
//! [`Snapshot::apply`] brings the one up to date with the other; [`Delta::between`] is its inverse. What is wrong is found by
//! [`diagnose`], from a snapshot alone, and is said in words there, so that every viewer says the same.
//!
//! What is unknown is `None` here and `null` in JSON. Times are seconds since the Unix epoch, durations seconds.
//!
//! ```
//! use router_live::{Delta, Snapshot};
//!
//! let (mut seen, mut now) = (Snapshot::default(), Snapshot::default());
//! now.seq = 1;
//! now.totals.in_flight = 7;
//! seen.apply(Delta::between(&seen, &now));
//! assert_eq!(seen, now);
//! ```

mod decision;
mod delta;
mod diagnosis;
mod problem;
mod snapshot;
mod words;
mod worker;

pub use decision::{CandidateCost, CostTerm, DecisionRow, ShadowChoice};
pub use delta::Delta;
pub use diagnosis::{FEWEST_RESPONSES, NAMED_WORKERS, diagnose};
pub use problem::{Problem, ProblemCode, Severity};
pub use snapshot::{
    DECISIONS_KEPT, DiscoveryState, Estimate, Figure, ModelRow, PoolScale, QueueState, Refusals, RouterState,
    ShadowRow, Snapshot, Totals, WaitingClass,
};
pub use worker::{Cause, Fault, WorkerChange, WorkerRow};
