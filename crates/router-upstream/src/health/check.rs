//! How one health check ended.

/// How one check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckOutcome {
    Passed,
    /// A bad answer, or a broken one.
    Failed,
    /// No answer in time.
    TimedOut,
    /// The door is closed.
    Refused,
    /// Not even that can be said.
    Unreachable,
    /// Neither the check nor any of the requests that it works on got a byte.
    Silent,
}

impl CheckOutcome {
    /// Whether the worker is not to be had, as opposed to working badly.
    pub(crate) const fn is_certain(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Silent)
    }

    /// Whether requests that it has are better off elsewhere. One that refuses connections or calls itself unhealthy may
    /// be about to stop, and then ends what it has first; if it is dead, its connections break by themselves.
    pub(crate) const fn is_hopeless(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable | Self::Silent)
    }
}
