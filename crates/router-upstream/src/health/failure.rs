//! Why a worker cannot be used.

use router_telemetry::FailureReason;

/// Why a health check or a connection failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerFailure {
    /// The kind of failure.
    pub reason: FailureReason,
    /// The cause, for the operator.
    pub message: String,
}

impl WorkerFailure {
    /// The failure of a check of a worker that is silent altogether.
    pub(crate) fn silent() -> Self {
        let message = "neither the check nor any request in flight received a byte".to_owned();
        Self { reason: FailureReason::Silent, message }
    }
}
