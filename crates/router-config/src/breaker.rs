//! Circuit breaker of a worker.

use crate::checks::{count, positive};
use crate::error::ConfigError;
use crate::options::Options;
use std::num::NonZeroU32;
use std::time::Duration;

/// When the circuit breaker of a worker opens and closes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerConfig {
    /// Failures in a row, or within the window, that open it.
    pub failures: NonZeroU32,
    /// Successful probes in a row that close it.
    pub successes: NonZeroU32,
    /// How long it stays open before it is half-open.
    pub open_for: Duration,
    /// Length of the window in which failures are counted.
    pub window: Duration,
}

impl Options {
    pub(crate) fn check_breaker(&self) -> Result<Option<BreakerConfig>, ConfigError> {
        if self.disable_circuit_breaker {
            return Ok(None);
        }
        Ok(Some(BreakerConfig {
            failures: count("--cb-failure-threshold", self.cb_failure_threshold)?,
            successes: count("--cb-success-threshold", self.cb_success_threshold)?,
            open_for: positive("--cb-timeout-duration-secs", self.cb_timeout_duration_secs)?,
            window: positive("--cb-window-duration-secs", self.cb_window_duration_secs)?,
        }))
    }
}
