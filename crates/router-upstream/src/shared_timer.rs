//! Timers of many workers that fire together.
//!
//! A thousand workers that are each looked after every half minute wake a thread 34 times a second, and a wake-up costs more than
//! the look itself. Timers that end at common instants make one wake-up of many.

use std::time::Duration;
use tokio::time::Instant;

/// A pause ends later by at most this share of it.
const ROUNDING: u32 = 32;

/// Sleeps for `pause` from now, or a little longer: until the next of the instants that timers of such pauses share. `origin` is
/// the same for all of them.
pub(crate) async fn sleep_together(origin: Instant, pause: Duration) {
    tokio::time::sleep_until(shared_instant(origin, Instant::now(), pause)).await;
}

fn shared_instant(origin: Instant, now: Instant, pause: Duration) -> Instant {
    let step = u64::try_from((pause / ROUNDING).as_nanos()).unwrap_or(u64::MAX);
    // Pauses of nearly the same length get the same step: the largest power of two of nanoseconds below it.
    let step = 1_u64 << step.max(1).ilog2();
    let end = now + pause;
    let passed = end.saturating_duration_since(origin).as_nanos() % u128::from(step);
    let rest = if passed == 0 { 0 } else { u128::from(step) - passed };
    end + Duration::from_nanos(u64::try_from(rest).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[tokio::test(start_paused = true)]
    async fn pauses_end_together_and_little_later() {
        let origin = Instant::now();
        let pause = Duration::from_secs(30);
        let mut ends = HashSet::new();
        for n in 0..1000 {
            let (now, pause) =
                (origin + Duration::from_millis(30 * n), pause.mul_f64(0.95 + 0.0001 * n as f64));
            let end = shared_instant(origin, now, pause);
            assert!(end >= now + pause && end <= now + pause + pause / ROUNDING, "{n}");
            ends.insert(end);
        }
        assert!(ends.len() < 80, "{} wake-ups for 1,000 timers", ends.len());
        assert_eq!(shared_instant(origin, origin, Duration::ZERO), origin);
    }
}
