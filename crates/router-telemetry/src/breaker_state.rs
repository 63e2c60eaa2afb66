//! The state of a circuit breaker, as metrics, logs and the admin API show it.

/// The state of a worker's circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// No request passes.
    Open,
    /// One request at a time passes, as a probe.
    HalfOpen,
}

impl BreakerState {
    /// All states, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name of the state in admin responses, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The value of `sgl_router_worker_cb_state` in this state.
    pub const fn number(self) -> u8 {
        self as u8
    }
}
