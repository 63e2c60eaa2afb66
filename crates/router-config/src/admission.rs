//! Limits of concurrency, queue, rate and request body memory, and timeouts and protocols of clients.

use crate::checks::{positive, timeout_or_never};
use crate::error::ConfigError;
use crate::options::Options;
use router_core::{BatchWindow, InFlightCap, OverloadBounds};
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
    /// From when on a worker is overloaded, by what it reports.
    pub overload: OverloadBounds,
    /// The window whose requests are dispatched together; `None` for none.
    pub batch_window: Option<BatchWindow>,
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

/// Maximum of a batch window: a client would take a longer one for a router that hangs.
const MAX_BATCH_WINDOW_MS: u32 = 10_000;

/// Maximum of a queue or limit: that of a tokio semaphore.
const MAX_COUNT: usize = usize::MAX >> 3;

/// When workers are polled for their load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadPolls {
    /// Where a policy needs load reports.
    ForPolicies,
    /// Whatever the policies need: a bound of overload is set.
    Always,
}

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
            overload: self.check_overload()?,
            batch_window: self.check_batch_window()?,
            max_buffered: NonZeroUsize::new(self.max_buffered_bytes),
        })
    }

    fn check_batch_window(&self) -> Result<Option<BatchWindow>, ConfigError> {
        let option = "--batch-window-ms";
        if self.batch_window_ms > MAX_BATCH_WINDOW_MS {
            return Err(ConfigError::option(option, format!("must be at most {MAX_BATCH_WINDOW_MS}")));
        }
        if self.batch_window_ms > 0 && self.pd_disaggregation {
            let problem = "cannot be combined with --pd-disaggregation: prefill servers do not decode";
            return Err(ConfigError::option(option, problem));
        }
        Ok(BatchWindow::new(Duration::from_millis(self.batch_window_ms.into())))
    }

    fn check_overload(&self) -> Result<OverloadBounds, ConfigError> {
        let standard = OverloadBounds::STANDARD;
        let usage = self.overload_kv_usage;
        if !(0.0..=1.0).contains(&usage) {
            let problem = format!("{usage} must be from 0 to 1; 0 is no bound");
            return Err(ConfigError::option("--overload-kv-usage", problem));
        }
        let kv_usage = Some(usage).filter(|usage| *usage > 0.0);
        let waiting = self.overload_waiting_requests.map_or(standard.waiting, NonZeroU32::new);
        Ok(OverloadBounds { waiting, kv_usage, ..standard }.polled_every(self.check_load_poll()?))
    }

    /// Time between two load polls of one worker.
    pub(crate) fn check_load_poll(&self) -> Result<Duration, ConfigError> {
        positive("--load-poll-interval-ms", self.load_poll_interval_ms as f64 / 1000.0)
    }

    /// When workers are polled for their load: always, if a bound of overload is set.
    pub(crate) fn load_polls(&self) -> LoadPolls {
        let is_bound = self.overload_waiting_requests.is_some_and(|n| n > 0) || self.overload_kv_usage > 0.0;
        if is_bound { LoadPolls::Always } else { LoadPolls::ForPolicies }
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
