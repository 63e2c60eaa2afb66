//! Health checks of workers.

use crate::checks::{count, positive};
use crate::error::ConfigError;
use crate::health_config::HealthConfig;
use crate::options::Options;

impl Options {
    /// The health check of workers; `None` when it is disabled.
    pub(crate) fn check_health(&self) -> Result<Option<HealthConfig>, ConfigError> {
        if self.disable_health_check {
            return Ok(None);
        }
        let path = self.health_check_endpoint.as_str();
        let parsed = if path.starts_with('/') { path.parse().ok() } else { None };
        Ok(Some(HealthConfig {
            path: parsed.ok_or_else(|| {
                let problem = format!("'{path}' is not a path that starts with /");
                ConfigError::option("--health-check-endpoint", problem)
            })?,
            interval: positive("--health-check-interval-secs", self.health_check_interval_secs)?,
            timeout: positive("--health-check-timeout-secs", self.health_check_timeout_secs)?,
            failures: count("--health-failure-threshold", self.health_failure_threshold)?,
            successes: count("--health-success-threshold", self.health_success_threshold)?,
        }))
    }
}
