//! The settings of health checks, checked.

use http::uri::PathAndQuery;
use std::num::NonZeroU32;
use std::time::Duration;

/// How the health of workers is checked.
#[derive(Clone, PartialEq, Debug)]
pub struct HealthConfig {
    /// Path of the check.
    pub path: PathAndQuery,
    /// Time between two checks of a healthy worker.
    pub interval: Duration,
    /// Time limit of one check.
    pub timeout: Duration,
    /// Failed checks in a row that make a worker unhealthy.
    pub failures: NonZeroU32,
    /// Passed checks in a row that make an unhealthy worker healthy.
    pub successes: NonZeroU32,
}
