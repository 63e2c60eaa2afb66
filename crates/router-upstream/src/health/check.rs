//! The outcome of one health check.

/// The outcome of one health check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckOutcome {
    Passed,
    /// An error response, or a broken one.
    Failed,
    /// No response in time.
    TimedOut,
    /// The connection was refused.
    Refused,
    /// The worker could not be reached for another reason.
    Unreachable,
    /// Neither the check nor any request in flight received a byte.
    Silent,
}

impl CheckOutcome {
    /// Whether the worker is certainly unavailable, so that one check is enough.
    pub(crate) const fn is_certain(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Silent)
    }

    /// Whether its requests in flight should be retried on other workers. A worker that refuses connections or reports
    /// itself unhealthy may be shutting down, and completes its requests first; if it is dead, its connections break.
    pub(crate) const fn is_hopeless(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable | Self::Silent)
    }
}
