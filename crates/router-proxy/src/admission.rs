//! Which requests are served now, which wait, and which are rejected before memory grows.
//!
//! Four limits, each off unless configured but the last: concurrent requests, requests per second, requests per worker,
//! bytes of request bodies. Requests wait in the order in which they arrived; how many may wait is one limit for all
//! queues. None of them counts load: requests in flight are the balancer's to count, and it alone knows which worker is
//! at its cap.

mod body_memory;
mod concurrency;
mod rate_limiter;

pub(crate) use body_memory::{BodyMemory, BodyReservation};
pub(crate) use concurrency::Permit;

use crate::error::ProxyError;
use concurrency::ConcurrencyLimit;
use rate_limiter::RateLimiter;
use router_config::AdmissionConfig;
use router_upstream::WaitLimit;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The limits of one router.
#[derive(Debug)]
pub(crate) struct Admission {
    queue_timeout: Duration,
    concurrency: Option<Arc<ConcurrencyLimit>>,
    rate: Option<RateLimiter>,
    /// How many requests may wait, here and for a worker below its cap.
    limit: Arc<WaitLimit>,
    pub(crate) bodies: BodyMemory,
    /// Whether requests that come together are dispatched together.
    pub(crate) has_batch_window: bool,
}

impl Admission {
    /// The limits of `config`; requests that wait count against `limit`.
    pub(crate) fn new(config: &AdmissionConfig, limit: Arc<WaitLimit>) -> Self {
        Self {
            queue_timeout: config.queue_timeout,
            concurrency: config.max_concurrent.map(ConcurrencyLimit::new),
            rate: config.rate.map(|rate| RateLimiter::new(rate, Instant::now())),
            limit,
            bodies: BodyMemory::new(config.max_buffered),
            has_batch_window: config.batch_window.is_some(),
        }
    }

    /// How many requests wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.limit.waiting()
    }

    /// How many requests wait now, here or for a worker, and for how long the oldest has.
    pub(crate) fn queue(&self) -> (usize, Duration) {
        let times = self.limit.times();
        (times.count(), times.age())
    }

    /// Bytes of request bodies that are held now.
    pub(crate) fn buffered(&self) -> usize {
        self.bodies.held()
    }

    /// Rejects a request that would find the queue full, before its body is read.
    pub(crate) fn reject_if_full(&self) -> Result<(), ProxyError> {
        let is_busy = self.concurrency.as_ref().is_some_and(|limit| limit.is_reached());
        if is_busy && self.limit.is_full() { Err(ProxyError::QueueFull) } else { Ok(()) }
    }

    /// Admits a request at once, or when its turn has come.
    ///
    /// # Errors
    /// When too many wait already, or the wait takes too long.
    pub(crate) async fn acquire(&self) -> Result<Option<Permit>, ProxyError> {
        let Self { concurrency, rate, .. } = self;
        if concurrency.is_none() && rate.is_none() {
            return Ok(None);
        }
        let is_paid = rate.as_ref().is_none_or(|r| r.take(Instant::now(), Duration::ZERO).is_some());
        if is_paid {
            match concurrency {
                None => return Ok(None),
                Some(limit) => {
                    if let Some(permit) = limit.try_acquire() {
                        return Ok(Some(permit));
                    }
                }
            }
        }
        // The place in the queue comes before the rate is charged, so that rejected requests use up none of it.
        let _place = self.limit.enter().ok_or(ProxyError::QueueFull)?;
        let due = match rate {
            Some(rate) if !is_paid => {
                let due = rate.take(Instant::now(), self.queue_timeout);
                Some(due.ok_or(ProxyError::QueueFull)?)
            }
            _ => None,
        };
        let turn = async {
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            match concurrency {
                Some(limit) => limit.acquire().await,
                None => None,
            }
        };
        let turn = tokio::time::timeout(self.queue_timeout, turn).await;
        turn.map_err(|_| ProxyError::QueueTimeout(self.queue_timeout))
    }
}

#[cfg(test)]
mod tests;
