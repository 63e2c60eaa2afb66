//! The emulator's clock: engine time from tokio's clock, Unix time from one reading at the start.
//!
//! Going through tokio means that paused time in tests pauses the engine too.

use std::time::{SystemTime, UNIX_EPOCH};

use router_core::Time;
use tokio::time::Instant;

/// Maps between tokio's clock, engine time (zero at the start) and Unix seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    unix_at_start: f64,
}

impl Clock {
    /// A clock whose engine time is zero now.
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), unix_at_start: unix.as_secs_f64() }
    }

    /// Engine time now.
    pub(crate) fn now(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// The instant at which engine time is `time`.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.start + time.since(Time::ZERO)
    }

    /// Unix seconds at engine time `time`.
    pub(crate) fn unix(&self, time: Time) -> f64 {
        self.unix_at_start + time.as_secs_f64()
    }
}

/// `unix` seconds as `2026-11-22T13:17:18.191371+00:00`, the form SGLang writes.
pub(crate) fn iso8601(unix: f64) -> String {
    let micros = (unix.max(0.0) * 1e6) as u64;
    let (secs, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, day_secs) = (secs / 86_400, secs % 86_400);
    // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (day_secs / 3600, day_secs / 60 % 60, day_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+00:00")
}

#[cfg(test)]
mod tests {
    use super::iso8601;

    #[test]
    fn iso8601_matches_wire_format() {
        assert_eq!(iso8601(0.0), "1970-01-01T00:00:00.000000+00:00");
        // A leap day and the time stamp of a captured response.
        assert_eq!(iso8601(1_709_210_096.5), "2024-02-29T12:34:56.500000+00:00");
        assert_eq!(&iso8601(1_795_353_438.190_570_8)[..23], "2026-11-22T13:17:18.190");
    }
}
