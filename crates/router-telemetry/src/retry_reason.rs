//! Why a request gets another attempt.

/// Why a request gets another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryReason {
    /// The worker could not be reached, or its connection broke.
    Disconnected,
    /// The worker responded with an error, with invalid HTTP, or not in time.
    Failed,
    /// The worker responded that it has no room.
    Overloaded,
    /// The worker became unhealthy while its response was awaited.
    WorkerUnhealthy,
    /// The response is late: another worker gets a copy of the request.
    Hedge,
}

impl RetryReason {
    /// Whether the attempt is paid from the retry budget, because it adds to the load of the fleet. One that
    /// replaces an attempt whose connection broke or whose worker is unhealthy does not.
    pub const fn uses_budget(self) -> bool {
        matches!(self, Self::Failed | Self::Overloaded | Self::Hedge)
    }

    /// Whether an earlier attempt is still running and may succeed.
    pub const fn is_speculative(self) -> bool {
        matches!(self, Self::WorkerUnhealthy | Self::Hedge)
    }
}
