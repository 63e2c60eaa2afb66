//! How long to wait before the next request.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// How long things take and may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Time limit of a page of a list, and of the beginning of a watch. Default 30 s.
    pub answer: Duration,
    /// How many seconds a watch lasts before it is begun again; a connection that died unnoticed is noticed then. Default
    /// 120.
    pub watch_secs: u32,
    /// From one list to the next while the watch goes on. Default 60 s.
    pub audit: Duration,
    /// The wait after the first failure; it doubles with each further one. Default 0.5 s.
    pub first_pause: Duration,
    /// The longest wait. Default 30 s.
    pub longest_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            watch_secs: 120,
            audit: Duration::from_secs(60),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Waits longer after each failure.
#[derive(Debug)]
pub(crate) struct Backoff {
    timing: Timing,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(timing: Timing) -> Self {
        Self { timing, next: timing.first_pause }
    }

    /// Waits, and doubles the next wait.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next;
        self.next = (self.next * 2).min(self.timing.longest_pause);
        tokio::time::sleep(jittered(pause)).await;
    }

    /// The next wait is the first one again.
    pub(crate) const fn reset(&mut self) {
        self.next = self.timing.first_pause;
    }
}

/// A time that is longer or shorter by up to a fifth, so that several routers do not ask at the same moment.
pub(crate) fn jittered(time: Duration) -> Duration {
    // Each state is made from other keys.
    let random = RandomState::new().build_hasher().finish() % 1000;
    #[allow(clippy::cast_precision_loss, reason = "below 1000")]
    let share = random as f64 / 1000.0;
    time.mul_f64(0.8 + 0.4 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_up_to_a_limit() {
        let mut backoff = Backoff::new(Timing::default());
        let mut waits = Vec::new();
        for _ in 0..9 {
            let begun = Instant::now();
            backoff.pause().await;
            waits.push(begun.elapsed().as_secs_f64());
        }
        let expected = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0];
        for (wait, expected) in waits.iter().zip(expected) {
            assert!((0.79 * expected..1.21 * expected).contains(wait), "{waits:?}");
        }
        backoff.reset();
        let begun = Instant::now();
        backoff.pause().await;
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
