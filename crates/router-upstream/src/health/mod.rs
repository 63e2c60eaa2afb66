//! What the router believes of a worker: pure state machines, fed with checks and with the ends of attempts.

mod breaker;
mod check;
mod probe_gate;
mod state;

pub(crate) use breaker::Breaker;
pub use breaker::HealthVerdict;
pub(crate) use check::CheckOutcome;
pub(crate) use probe_gate::ProbeGate;
pub use state::HealthState;
pub(crate) use state::WorkerHealth;
