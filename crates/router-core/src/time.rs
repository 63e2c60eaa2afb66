//! A point in time that the host supplies; the core never reads a clock.
//!
//! ```
//! use router_core::Time;
//! let t = Time::from_nanos(1_500_000_000);
//! assert_eq!(t.as_secs_f64(), 1.5);
//! ```

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since the epoch of the run: process start when live, zero in a simulation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(u64);

impl Time {
    /// The epoch of the run.
    pub const ZERO: Self = Self(0);

    /// A time `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A time `secs` seconds after the epoch; negative and non-finite values become the epoch.
    pub fn from_secs_f64(secs: f64) -> Self {
        // A float cast saturates, so infinities end at the far future and NaN at zero.
        Self((secs * 1e9) as u64)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 * 1e-9
    }

    /// The time passed since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds passed since `earlier`, negative when `earlier` is later.
    pub fn secs_since(self, earlier: Self) -> f64 {
        // Policies ask this for every candidate, and only a signed integer of 64 bits becomes a float in one step.
        let nanos = |passed: u64| passed.min(i64::MAX as u64) as i64 as f64;
        let nanos = if self.0 >= earlier.0 { nanos(self.0 - earlier.0) } else { -nanos(earlier.0 - self.0) };
        nanos * 1e-9
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}
