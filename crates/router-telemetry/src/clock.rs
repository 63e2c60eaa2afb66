//! The one place where the proxy reads a clock.

use router_core::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A monotonic clock whose zero is the start of the process, with the Unix time of that zero.
///
/// It follows tokio's clock, so that tests can pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    unix_start: Duration,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        let unix_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { start: Instant::now(), unix_start }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// `time` as time since the Unix epoch, to the nanosecond.
    ///
    /// It advances with the monotonic clock, so differences are exact and later changes of the system clock have no
    /// effect.
    pub fn unix(&self, time: Time) -> Duration {
        self.unix_start + Duration::from_nanos(time.as_nanos())
    }
}
