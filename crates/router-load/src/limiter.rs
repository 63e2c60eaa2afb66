//! Holds requests until their time and while the concurrency limit is reached.
//!
//! It blocks a thread, not a task: a timer of the async runtime has a granularity of 1 ms, while a thread that waits
//! on a condition variable wakes within about 0.1 ms of its time, and a signal to stop wakes it at once.

use parking_lot::{Condvar, Mutex};
use std::num::NonZeroUsize;
use std::time::Instant;

/// The result of a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Without waiting for room, or on time.
    Admitted,
    /// Room became free at this time.
    AdmittedAt(Instant),
    /// The load was stopped.
    Stopped,
}

#[derive(Debug, Default)]
struct LimiterState {
    inside: usize,
    stopped: bool,
}

/// Admits requests one by one.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimiter {
    cap: Option<NonZeroUsize>,
    state: Mutex<LimiterState>,
    /// Notified of a stop, and of room where there is a cap.
    changed: Condvar,
}

impl ConcurrencyLimiter {
    /// A limiter of `cap` requests at a time; `None` = no limit.
    pub(crate) fn new(cap: Option<NonZeroUsize>) -> Self {
        Self { cap, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Blocks until `due`.
    pub(crate) fn wait_until(&self, due: Instant) -> Admission {
        let mut state = self.state.lock();
        while !state.stopped && Instant::now() < due {
            self.changed.wait_until(&mut state, due);
        }
        if state.stopped { Admission::Stopped } else { Admission::Admitted }
    }

    /// Blocks until there is room for one more.
    pub(crate) fn enter(&self) -> Admission {
        let full = |inside| self.cap.is_some_and(|cap| inside >= cap.get());
        let mut state = self.state.lock();
        let mut passage = Admission::Admitted;
        while !state.stopped && full(state.inside) {
            self.changed.wait(&mut state);
            passage = Admission::AdmittedAt(Instant::now());
        }
        if state.stopped {
            return Admission::Stopped;
        }
        state.inside += 1;
        passage
    }

    /// Releases the room of one request.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.inside = state.inside.saturating_sub(1);
        // A thread that waits for its time need not be woken for room.
        if self.cap.is_some_and(|cap| state.inside + 1 == cap.get()) {
            self.changed.notify_one();
        }
    }

    /// Requests in flight.
    pub(crate) fn inside(&self) -> usize {
        self.state.lock().inside
    }

    /// Ends every wait, now and later.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn full_limiter_admits_after_leave() {
        let limiter = Arc::new(ConcurrencyLimiter::new(NonZeroUsize::new(2)));
        assert_eq!((limiter.enter(), limiter.enter()), (Admission::Admitted, Admission::Admitted));
        let waiting = std::thread::spawn({
            let limiter = Arc::clone(&limiter);
            move || limiter.enter()
        });
        limiter.leave();
        assert_ne!(waiting.join().unwrap(), Admission::Stopped);
        assert_eq!(limiter.inside(), 2);
    }

    #[test]
    fn stop_ends_every_wait() {
        let limiter = Arc::new(ConcurrencyLimiter::new(NonZeroUsize::new(1)));
        limiter.enter();
        let waits: [fn(&ConcurrencyLimiter) -> Admission; 2] =
            [|g| g.enter(), |g| g.wait_until(Instant::now() + Duration::from_secs(3600))];
        let waiting = waits.map(|wait| {
            let limiter = Arc::clone(&limiter);
            std::thread::spawn(move || wait(&limiter))
        });
        limiter.stop();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Admission::Stopped);
        }
    }

    #[test]
    fn past_time_does_not_wait() {
        let limiter = ConcurrencyLimiter::new(None);
        assert!((0..10_000).all(|_| limiter.enter() == Admission::Admitted));
        assert_eq!(limiter.wait_until(Instant::now()), Admission::Admitted);
    }
}
