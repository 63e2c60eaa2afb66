//! The hedge delay: a fixed time, or a quantile of recent latencies.

use parking_lot::Mutex;
use router_config::HedgeAfter;
use router_core::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many of the latest samples the quantile is computed from.
const WINDOW: usize = 512;

/// How many samples are needed at least: fewer say little about a high percentile.
const MIN_SAMPLES: usize = 64;

/// How many samples come between two computations of the quantile.
const RECOMPUTE_EVERY: usize = 32;

/// Decides when a request is slow.
#[derive(Debug)]
pub(crate) struct HedgeDelay {
    after: HedgeAfter,
    latencies: Mutex<LatencyWindow>,
    /// The present delay in nanoseconds; zero while it is not known.
    wait: AtomicU64,
}

#[derive(Debug, Default)]
struct LatencyWindow {
    /// Latencies in nanoseconds, as a ring buffer.
    kept: Vec<u64>,
    next: usize,
    since_recomputed: usize,
}

impl HedgeDelay {
    pub(crate) fn new(after: HedgeAfter) -> Self {
        let wait = match after {
            HedgeAfter::Time(time) => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            HedgeAfter::Quantile(_) => 0,
        };
        Self { after, latencies: Mutex::default(), wait: AtomicU64::new(wait) }
    }

    /// After how long a request counts as slow; absent while too few latencies are known.
    pub(crate) fn current(&self) -> Option<Duration> {
        let wait = self.wait.load(Relaxed);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Notes how long a successful response took to its first byte.
    pub(crate) fn record_latency(&self, sent_at: Time, now: Time) {
        let HedgeAfter::Quantile(quantile) = self.after else { return };
        let mut latencies = self.latencies.lock();
        if let Some(wait) = latencies.add(now.as_nanos().saturating_sub(sent_at.as_nanos()), quantile) {
            self.wait.store(wait, Relaxed);
        }
    }
}

impl LatencyWindow {
    /// Adds a sample; the quantile when it was time to compute it again.
    fn add(&mut self, nanos: u64, quantile: f64) -> Option<u64> {
        if self.kept.len() < WINDOW {
            self.kept.push(nanos);
        } else {
            self.kept[self.next] = nanos;
            self.next = (self.next + 1) % WINDOW;
        }
        self.since_recomputed += 1;
        if self.kept.len() < MIN_SAMPLES
            || (self.since_recomputed < RECOMPUTE_EVERY && self.kept.len() != MIN_SAMPLES)
        {
            return None;
        }
        self.since_recomputed = 0;
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        router_core::quantile(&sorted, quantile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_follows_recent_latencies() {
        let delay = HedgeDelay::new(HedgeAfter::Quantile(0.95));
        let respond = |millis: u64| delay.record_latency(Time::ZERO, Time::from_nanos(millis * 1_000_000));
        (1..=63).for_each(respond);
        assert_eq!(delay.current(), None, "63 samples are too few");
        respond(64);
        assert_eq!(delay.current(), Some(Duration::from_millis(61)));
        (0..600).for_each(|_| respond(7));
        assert_eq!(delay.current(), Some(Duration::from_millis(7)));
        let fixed = HedgeDelay::new(HedgeAfter::Time(Duration::from_millis(300)));
        assert_eq!(fixed.current(), Some(Duration::from_millis(300)));
    }
}
