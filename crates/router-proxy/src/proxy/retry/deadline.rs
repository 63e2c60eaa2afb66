//! Until when the first byte of a response is waited for.

use crate::error::ProxyError;
use router_config::RequestLimits;
use std::time::Duration;
use tokio::time::Instant;

/// Until when the first byte of a response is waited for, and what it means when that time has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstByteDeadline {
    pub(crate) until: Instant,
    /// The bound that ends this attempt only; absent where the request's own time ends first.
    bound: Option<Duration>,
    /// The time that the request has as a whole.
    timeout: Duration,
}

impl FirstByteDeadline {
    /// The deadline of an attempt that begins now, for a request that ends at `deadline` at the latest.
    pub(crate) fn new(limits: &RequestLimits, deadline: Instant) -> Self {
        let bound = limits.first_byte.map(|bound| (bound, Instant::now() + bound));
        let timeout = limits.timeout;
        match bound.filter(|(_, until)| *until < deadline) {
            Some((bound, until)) => Self { until, bound: Some(bound), timeout },
            None => Self { until: deadline, bound: None, timeout },
        }
    }

    /// The error of an attempt that got no first byte until then.
    pub(crate) const fn error(self) -> ProxyError {
        match self.bound {
            Some(bound) => ProxyError::NoFirstByte(bound),
            None => ProxyError::Timeout(self.timeout),
        }
    }
}
