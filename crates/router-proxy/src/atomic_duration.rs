//! A time span that may change while others read it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A time span that may change while others read it. The longest is 584 years.
#[derive(Debug)]
pub(crate) struct AtomicDuration(AtomicU64);

impl AtomicDuration {
    pub(crate) fn new(duration: Duration) -> Self {
        let new = Self(AtomicU64::default());
        new.set(duration);
        new
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }

    pub(crate) fn set(&self, duration: Duration) {
        self.0.store(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}
