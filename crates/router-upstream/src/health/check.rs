//! The outcome of one health check.

use router_telemetry::FailureReason;

/// The outcome of one health check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckOutcome {
    Passed,
    Failed(FailureReason),
}

impl CheckOutcome {
    /// Whether the worker is certainly unavailable, so that one check is enough.
    pub(crate) const fn is_certain(self) -> bool {
        use FailureReason::{ConnectTimeout, ConnectionRefused, Silent, Unreachable};
        matches!(self, Self::Failed(ConnectionRefused | ConnectTimeout | Unreachable | Silent))
    }

    /// Whether its requests in flight should be retried on other workers. A worker that refuses connections or reports
    /// itself unhealthy may be shutting down, and completes its requests first; if it is dead, its connections break. A
    /// name that cannot be resolved and a certificate that is refused say nothing about open connections.
    pub(crate) const fn is_hopeless(self) -> bool {
        use FailureReason::{ConnectTimeout, Silent, Timeout, Unreachable};
        matches!(self, Self::Failed(Timeout | ConnectTimeout | Unreachable | Silent))
    }
}
