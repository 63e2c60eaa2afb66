//! The health of a worker: pure state machines, fed with health checks and the outcomes of attempts.

mod breaker;
mod check;
mod failure;
mod probe_gate;
mod state;

pub(crate) use breaker::CircuitBreaker;
pub use breaker::HealthVerdict;
pub(crate) use check::CheckOutcome;
pub use failure::WorkerFailure;
pub(crate) use probe_gate::ProbeGate;
pub(crate) use state::{DrainOrder, WorkerHealth};
pub use state::{HealthProblem, HealthState, Readiness, ReadinessProblem};
