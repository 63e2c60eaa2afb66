//! Requests per second: a token bucket of one second's requests, kept as one instant (the GCRA algorithm).

use parking_lot::Mutex;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// The bucket. It is full when `paid_until` has passed, and empty when that is a second ahead.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// The time that one request pays for.
    each: Duration,
    /// How far `paid_until` may be ahead of now for a request to be admitted at once.
    burst: Duration,
    paid_until: Mutex<Instant>,
}

impl RateLimiter {
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        let each = Duration::from_secs(1) / per_second.get();
        Self { each, burst: Duration::from_secs(1).saturating_sub(each), paid_until: Mutex::new(now) }
    }

    /// Charges one request, and returns when it may go on. `None` when it would wait longer than `max_wait`; then nothing
    /// was charged.
    pub(super) fn take(&self, now: Instant, max_wait: Duration) -> Option<Instant> {
        let mut paid_until = self.paid_until.lock();
        let from = (*paid_until).max(now);
        let due = from.checked_sub(self.burst).map_or(now, |due| due.max(now));
        if due.saturating_duration_since(now) > max_wait {
            return None;
        }
        *paid_until = from + self.each;
        Some(due)
    }
}
