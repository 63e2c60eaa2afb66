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

use crate::atomic_duration::AtomicDuration;
use crate::error::ProxyError;
use arc_swap::ArcSwapOption;
use concurrency::ConcurrencyLimit;
use rate_limiter::RateLimiter;
use router_config::AdmissionConfig;
use router_upstream::WaitLimit;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// The limits of one router.
#[derive(Debug)]
pub(crate) struct Admission {
    queue_timeout: AtomicDuration,
    /// Once there was a limit. Where it was lifted again, requests still count, so that it can come back.
    concurrency: ArcSwapOption<ConcurrencyLimit>,
    rate: ArcSwapOption<RateLimiter>,
    /// Requests per second of `rate`; 0 where there is none.
    per_second: AtomicU32,
    /// How many requests may wait, here and for a worker below its cap.
    limit: Arc<WaitLimit>,
    pub(crate) bodies: BodyMemory,
    has_batch_window: AtomicBool,
}

impl Admission {
    /// The limits of `config`; requests that wait count against `limit`.
    pub(crate) fn new(config: &AdmissionConfig, limit: Arc<WaitLimit>) -> Self {
        let admission = Self {
            queue_timeout: AtomicDuration::new(config.queue_timeout),
            concurrency: ArcSwapOption::empty(),
            rate: ArcSwapOption::empty(),
            per_second: AtomicU32::default(),
            limit,
            bodies: BodyMemory::new(config.max_buffered),
            has_batch_window: AtomicBool::default(),
        };
        admission.set(config);
        admission
    }

    /// Changes the limits. Requests that are served stay, and those that wait keep their places. Requests that were admitted while
    /// there was no limit of concurrency never count.
    pub(crate) fn set(&self, config: &AdmissionConfig) {
        self.queue_timeout.set(config.queue_timeout);
        self.limit.set(config.queue_size);
        self.bodies.set_limit(config.max_buffered);
        self.has_batch_window.store(config.batch_window.is_some(), Relaxed);
        match &*self.concurrency.load() {
            Some(limit) => limit.set(config.max_concurrent),
            None if config.max_concurrent.is_some() => {
                self.concurrency.store(Some(ConcurrencyLimit::new(config.max_concurrent)));
            }
            None => {}
        }
        let per_second = config.rate.map_or(0, NonZeroU32::get);
        if self.per_second.swap(per_second, Relaxed) != per_second {
            let rate = config.rate.map(|rate| Arc::new(RateLimiter::new(rate, Instant::now())));
            self.rate.store(rate);
        }
    }

    /// Whether requests that come together are dispatched together.
    pub(crate) fn has_batch_window(&self) -> bool {
        self.has_batch_window.load(Relaxed)
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
        let is_busy = self.concurrency.load().as_ref().is_some_and(|limit| limit.is_reached());
        if is_busy && self.limit.is_full() { Err(ProxyError::QueueFull) } else { Ok(()) }
    }

    /// Admits a request at once, or when its turn has come.
    ///
    /// # Errors
    /// When too many wait already, or the wait takes too long.
    pub(crate) async fn acquire(&self) -> Result<Option<Permit>, ProxyError> {
        if self.concurrency.load().is_none() && self.rate.load().is_none() {
            return Ok(None);
        }
        let (concurrency, rate) = (&self.concurrency.load_full(), &self.rate.load_full());
        let queue_timeout = self.queue_timeout.get();
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
                let due = rate.take(Instant::now(), queue_timeout);
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
        let turn = tokio::time::timeout(queue_timeout, turn).await;
        turn.map_err(|_| ProxyError::QueueTimeout(queue_timeout))
    }
}

#[cfg(test)]
mod tests;
