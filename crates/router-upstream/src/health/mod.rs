//! The health of a worker: pure state machines, fed with health checks and the outcomes of attempts.

mod breaker;
mod check;
mod probe_gate;
mod state;

pub(crate) use breaker::CircuitBreaker;
pub use breaker::HealthVerdict;
pub(crate) use check::CheckOutcome;
pub(crate) use probe_gate::ProbeGate;
pub use state::HealthState;
pub(crate) use state::WorkerHealth;
