//! Limits: requests at a time, requests that wait, bytes of request bodies, and how long a client may take.

use crate::checks::positive;
use crate::error::ConfigError;
use crate::options::Options;
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

/// How long a client may keep a connection open without doing its part.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// A client that sends no whole request head for this long is closed; an idle keep-alive connection ends so, too.
    pub head: Duration,
    /// A client that takes nothing of a response that waits for it is closed after this long.
    pub write: Duration,
}

/// The largest count that a queue or a limit can have: that of a semaphore of tokio.
const MAX_COUNT: usize = usize::MAX >> 3;

impl Options {
    pub(crate) fn check_admission(&self) -> Result<AdmissionConfig, ConfigError> {
        let at_least_one = |option, n: Option<u32>| match n.map(NonZeroU32::new) {
            Some(None) => Err(ConfigError::option(option, "must be at least 1; leave it out for no bound")),
            Some(some) => Ok(some),
            None => Ok(None),
        };
        let concurrent = match self.max_concurrent_requests {
            -1 => None,
            n => {
                let n = usize::try_from(n).ok().and_then(NonZeroUsize::new);
                let problem = "must be at least 1, or -1 for no bound";
                Some(n.ok_or_else(|| ConfigError::option("--max-concurrent-requests", problem))?)
            }
        };
        if self.queue_size > MAX_COUNT {
            return Err(ConfigError::option("--queue-size", format!("must be at most {MAX_COUNT}")));
        }
        if concurrent.is_some_and(|n| n.get() > MAX_COUNT) {
            return Err(ConfigError::option(
                "--max-concurrent-requests",
                format!("must be at most {MAX_COUNT}"),
            ));
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

    pub(crate) fn check_client_timeouts(&self) -> Result<ClientTimeouts, ConfigError> {
        Ok(ClientTimeouts {
            head: positive("--client-header-timeout-secs", self.client_header_timeout_secs)?,
            write: positive("--client-write-timeout-secs", self.client_write_timeout_secs)?,
        })
    }
}
