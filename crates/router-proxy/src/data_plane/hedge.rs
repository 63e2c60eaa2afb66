//! When a second copy of a request is sent: after a fixed time, or after most answers have usually come.

use parking_lot::Mutex;
use router_config::HedgeAfter;
use router_core::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Answers that the usual time is taken from.
const KEPT: usize = 512;

/// Fewer say nothing about a high percentile.
const FEWEST: usize = 64;

/// The usual time is taken anew after so many answers.
const RENEW: usize = 32;

/// Decides when a request is slow.
#[derive(Debug)]
pub(crate) struct Hedging {
    after: HedgeAfter,
    times: Mutex<Times>,
    /// The present wait in nanoseconds; zero while it is not known.
    wait: AtomicU64,
}

#[derive(Debug, Default)]
struct Times {
    /// Nanoseconds, in the order of a ring.
    kept: Vec<u64>,
    next: usize,
    since_renewal: usize,
}

impl Hedging {
    pub(crate) fn new(after: HedgeAfter) -> Self {
        let wait = match after {
            HedgeAfter::Time(time) => u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
            HedgeAfter::Quantile(_) => 0,
        };
        Self { after, times: Mutex::default(), wait: AtomicU64::new(wait) }
    }

    /// After how long a request counts as slow; absent while too little is known.
    pub(super) fn wait(&self) -> Option<Duration> {
        let wait = self.wait.load(Relaxed);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Notes how long a good answer took.
    pub(super) fn answered(&self, sent_at: Time, now: Time) {
        let HedgeAfter::Quantile(quantile) = self.after else { return };
        let mut times = self.times.lock();
        if let Some(wait) = times.add(now.as_nanos().saturating_sub(sent_at.as_nanos()), quantile) {
            self.wait.store(wait, Relaxed);
        }
    }
}

impl Times {
    /// Takes one in; the quantile when it was time to take it anew.
    fn add(&mut self, nanos: u64, quantile: f64) -> Option<u64> {
        if self.kept.len() < KEPT {
            self.kept.push(nanos);
        } else {
            self.kept[self.next] = nanos;
            self.next = (self.next + 1) % KEPT;
        }
        self.since_renewal += 1;
        if self.kept.len() < FEWEST || (self.since_renewal < RENEW && self.kept.len() != FEWEST) {
            return None;
        }
        self.since_renewal = 0;
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() as f64 * quantile).ceil() as usize;
        Some(sorted[rank.clamp(1, sorted.len()) - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_time_follows_the_answers_of_late() {
        let hedging = Hedging::new(HedgeAfter::Quantile(0.95));
        let answer = |millis: u64| hedging.answered(Time::ZERO, Time::from_nanos(millis * 1_000_000));
        (1..=63).for_each(answer);
        assert_eq!(hedging.wait(), None, "63 answers are too few");
        answer(64);
        assert_eq!(hedging.wait(), Some(Duration::from_millis(61)));
        (0..600).for_each(|_| answer(7));
        assert_eq!(hedging.wait(), Some(Duration::from_millis(7)));
        let fixed = Hedging::new(HedgeAfter::Time(Duration::from_millis(300)));
        assert_eq!(fixed.wait(), Some(Duration::from_millis(300)));
    }
}
