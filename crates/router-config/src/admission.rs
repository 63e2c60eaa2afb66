//! Limits of concurrency, queue, rate and request body memory, and timeouts and protocols of clients.

use crate::checks::{positive, timeout_or_never};
use crate::error::ConfigError;
use crate::options::Options;
use router_core::InFlightCap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// Concurrency, queue and rate limits.
#[derive(Clone, Debug)]
pub struct AdmissionConfig {
    /// Maximum concurrent requests; `None` for no limit.
    pub max_concurrent: Option<NonZeroUsize>,
    /// Maximum requests in the queue.
    pub queue_size: usize,
    /// Maximum time in the queue.
    pub queue_timeout: Duration,
    /// Maximum requests per second; `None` for no limit.
    pub rate: Option<NonZeroU32>,
    /// Maximum requests in flight on one worker.
    pub worker_max_in_flight: InFlightCap,
    /// Maximum memory for request bodies, in bytes; `None` for no limit.
    pub max_buffered: Option<NonZeroUsize>,
}

/// Timeouts of client connections.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// Time limit to send a complete request head, also on an idle keep-alive connection; then it is closed.
    pub head: Duration,
    /// A client that reads none of its response for this long is disconnected.
    pub write: Duration,
}

/// HTTP/2 from clients.
#[derive(Clone, Copy, Debug)]
pub struct Http2Config {
    /// Maximum number of requests at a time on one connection.
    pub max_concurrent_streams: NonZeroU32,
}

/// Maximum of a queue or limit: that of a tokio semaphore.
const MAX_COUNT: usize = usize::MAX >> 3;

impl Options {
    pub(crate) fn check_admission(&self) -> Result<AdmissionConfig, ConfigError> {
        let at_least_one = |option, n: Option<u32>| match n.map(NonZeroU32::new) {
            Some(None) => Err(ConfigError::option(option, "must be at least 1; leave it out for no limit")),
            Some(some) => Ok(some),
            None => Ok(None),
        };
        let concurrent = match self.max_concurrent_requests {
            -1 => None,
            n => {
                let n = usize::try_from(n).ok().and_then(NonZeroUsize::new);
                let problem = "must be at least 1, or -1 for no limit";
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
            worker_max_in_flight: match self.worker_max_in_flight.map(NonZeroU32::new) {
                None => InFlightCap::FromReport,
                Some(None) => InFlightCap::Unlimited,
                Some(Some(cap)) => InFlightCap::Fixed(cap),
            },
            max_buffered: NonZeroUsize::new(self.max_buffered_bytes),
        })
    }

    pub(crate) fn check_client_timeouts(&self) -> Result<ClientTimeouts, ConfigError> {
        Ok(ClientTimeouts {
            head: timeout_or_never("--client-header-timeout-secs", self.client_header_timeout_secs)?,
            write: positive("--client-write-timeout-secs", self.client_write_timeout_secs)?,
        })
    }

    /// HTTP/2 from clients; `None` when only HTTP/1.1 is served.
    pub(crate) fn check_http2(&self) -> Result<Option<Http2Config>, ConfigError> {
        let option = "--http2-max-concurrent-streams";
        let max_concurrent_streams = NonZeroU32::new(self.http2_max_concurrent_streams).ok_or_else(|| {
            ConfigError::option(option, "must be at least 1; --disable-http2 turns HTTP/2 off")
        })?;
        Ok((!self.disable_http2).then_some(Http2Config { max_concurrent_streams }))
    }
}
