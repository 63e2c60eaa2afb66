//! Options about too much: of requests, of bytes, of patience.

use super::{ConfigError, Options, positive};
use crate::server::ClientPatience;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// How many requests come in, and how many wait.
#[derive(Clone, Debug)]
pub struct AdmissionConfig {
    /// Most requests that are served at a time; any number when absent.
    pub max_concurrent: Option<NonZeroUsize>,
    /// Most requests that wait.
    pub queue_size: usize,
    /// Longest wait.
    pub queue_timeout: Duration,
    /// Most requests that come in per second; any number when absent.
    pub rate: Option<NonZeroU32>,
    /// Most requests in flight on one worker; any number when absent.
    pub worker_max_in_flight: Option<NonZeroU32>,
    /// Most bytes of request bodies that are held at a time; any number when absent.
    pub max_buffered: Option<NonZeroUsize>,
}

impl Options {
    pub(super) fn check_admission(&self) -> Result<AdmissionConfig, ConfigError> {
        let at_least_one = |option, n: Option<u32>| match n.map(NonZeroU32::new) {
            Some(None) => Err(refuse(option, "must be at least 1; leave it out for no bound")),
            Some(some) => Ok(some),
            None => Ok(None),
        };
        let concurrent = match self.max_concurrent_requests {
            -1 => None,
            n => {
                let n = usize::try_from(n).ok().and_then(NonZeroUsize::new);
                let problem = "must be at least 1, or -1 for no bound";
                Some(n.ok_or_else(|| refuse("--max-concurrent-requests", problem))?)
            }
        };
        if self.queue_size > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(refuse("--queue-size", "is more than can be counted"));
        }
        if concurrent.is_some_and(|n| n.get() > tokio::sync::Semaphore::MAX_PERMITS) {
            return Err(refuse("--max-concurrent-requests", "is more than can be counted"));
        }
        Ok(AdmissionConfig {
            max_concurrent: concurrent,
            queue_size: self.queue_size,
            queue_timeout: positive("--queue-timeout-secs", self.queue_timeout_secs)?,
            rate: at_least_one("--rate-limit-tokens-per-second", self.rate_limit_tokens_per_second)?,
            worker_max_in_flight: at_least_one("--worker-max-in-flight", self.worker_max_in_flight)?,
            max_buffered: NonZeroUsize::new(self.max_buffered_bytes),
        })
    }

    pub(super) fn check_patience(&self) -> Result<ClientPatience, ConfigError> {
        Ok(ClientPatience {
            head: positive("--client-header-timeout-secs", self.client_header_timeout_secs)?,
            write: positive("--client-write-timeout-secs", self.client_write_timeout_secs)?,
        })
    }
}

fn refuse(option: &'static str, problem: &str) -> ConfigError {
    ConfigError::Option { option, problem: problem.to_owned() }
}
