//! Retries and hedging.

use crate::checks::positive;
use crate::error::ConfigError;
use crate::options::Options;
use std::ops::RangeInclusive;
use std::time::Duration;

/// When a request is retried or hedged on another worker.
#[derive(Clone, PartialEq, Debug)]
pub struct RetryConfig {
    /// Maximum number of retries of a request.
    pub max_retries: u32,
    /// Backoff before the second retry.
    pub first_backoff: Duration,
    /// Maximum backoff.
    pub longest_backoff: Duration,
    /// Factor between two backoffs.
    pub multiplier: f64,
    /// Share of a backoff that is random, 0 to 1.
    pub jitter: f64,
    /// Retry budget: maximum retries as a share of recent requests.
    pub budget: f64,
    /// When a request is hedged; `None` for no hedging.
    pub hedge: Option<HedgeAfter>,
    /// How long a request waits for a worker when none is available; `None` for no wait.
    pub queue: Option<Duration>,
}

impl RetryConfig {
    /// The backoff before retry number `retry`, counted from 1. `jitter` is a random number from 0 to 1.
    pub fn backoff(&self, retry: u32, jitter: f64) -> Duration {
        let Some(step) = retry.checked_sub(2) else { return Duration::ZERO };
        let longest = self.longest_backoff.as_secs_f64();
        let wait = self.first_backoff.as_secs_f64() * self.multiplier.powf(step.into());
        let wait = wait.min(longest) * (1.0 + self.jitter * (2.0 * jitter - 1.0));
        Duration::try_from_secs_f64(wait.min(longest)).unwrap_or(self.longest_backoff)
    }
}

/// When a second copy of a request is sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum HedgeAfter {
    /// After a fixed time.
    Time(Duration),
    /// After this quantile, 0 to 1, of recent response times.
    Quantile(f64),
}

impl Options {
    pub(crate) fn check_retry(&self) -> Result<RetryConfig, ConfigError> {
        Ok(RetryConfig {
            max_retries: if self.disable_retries { 0 } else { self.retry_max_retries },
            first_backoff: Duration::from_millis(self.retry_initial_backoff_ms),
            longest_backoff: Duration::from_millis(self.retry_max_backoff_ms),
            multiplier: within("--retry-backoff-multiplier", self.retry_backoff_multiplier, 1.0..=100.0)?,
            jitter: within("--retry-jitter-factor", self.retry_jitter_factor, 0.0..=1.0)?,
            budget: within("--retry-budget", self.retry_budget, 0.0..=10.0)?,
            hedge: self.hedge_after.as_deref().map(hedge_after).transpose()?,
            queue: self
                .queue_when_unavailable
                .then(|| positive("--queue-timeout-secs", self.queue_timeout_secs))
                .transpose()?,
        })
    }
}

fn within(option: &'static str, value: f64, range: RangeInclusive<f64>) -> Result<f64, ConfigError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = range.into_inner();
    Err(ConfigError::option(option, format!("{value} must be a number from {least} to {most}")))
}

fn hedge_after(text: &str) -> Result<HedgeAfter, ConfigError> {
    let time = |number: &str, unit: f64| {
        let secs = number.parse::<f64>().ok().map(|n| n * unit);
        secs.and_then(|s| Duration::try_from_secs_f64(s).ok()).filter(|d| !d.is_zero()).map(HedgeAfter::Time)
    };
    let parsed = if let Some(percent) = text.strip_prefix('p') {
        let percent = percent.parse::<f64>().ok().filter(|p| (50.0..=99.9).contains(p));
        percent.map(|p| HedgeAfter::Quantile(p / 100.0))
    } else if let Some(millis) = text.strip_suffix("ms") {
        time(millis, 0.001)
    } else {
        time(text.strip_suffix('s').unwrap_or(text), 1.0)
    };
    parsed.ok_or_else(|| {
        let problem =
            format!("'{text}' must be a time such as 1.5s or 800ms, or a percentile from p50 to p99.9");
        ConfigError::option("--hedge-after", problem)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_to_its_maximum() {
        let retry = Options::default().check_retry().unwrap();
        let millis = |retry_number, jitter| retry.backoff(retry_number, jitter).as_secs_f64() * 1e3;
        assert_eq!((millis(1, 0.9), millis(2, 0.5), millis(3, 0.5)), (0.0, 50.0, 75.0));
        assert_eq!((millis(2, 0.0).round(), millis(2, 1.0).round()), (40.0, 60.0));
        assert_eq!(millis(40, 1.0), 30_000.0);
    }

    #[test]
    fn hedge_is_time_or_percentile() {
        let time = |ms| HedgeAfter::Time(Duration::from_millis(ms));
        for (text, after) in [
            ("p95", HedgeAfter::Quantile(0.95)),
            ("1.5s", time(1500)),
            ("800ms", time(800)),
            ("2", time(2000)),
        ] {
            assert_eq!(hedge_after(text).unwrap(), after);
        }
        for text in ["", "p", "p100", "p9", "soon", "-1s", "0ms", "infs"] {
            let error = hedge_after(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--hedge-after: '{text}'")), "{error}");
        }
    }
}
