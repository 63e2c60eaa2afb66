//! Timers that are moved to a later time again and again.
//!
//! Setting a timer of the runtime and taking it back costs as much as a good part of a request. A [`LazyTimer`] stays
//! set at the earliest time that it was asked for; when it fires and the time asked for now is later, it is set again.

use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer of one task, which costs nothing until it is first waited for.
#[derive(Default, Debug)]
pub(crate) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Whether `time` has come.
    pub(crate) fn poll(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(time)));
        if sleep.deadline() > time {
            sleep.as_mut().reset(time);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= time {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(time);
        }
    }
}

/// A timer that the parts of one connection share: hyper bounds the wait for a request's head by it, and the handler the
/// wait for a worker. One of them waits at a time.
#[derive(Clone, Default, Debug)]
pub(crate) struct DeadlineTimer(Arc<Mutex<LazyTimer>>);

impl DeadlineTimer {
    /// Waits until `time`.
    pub(crate) async fn until(&self, time: Instant) {
        poll_fn(|cx| self.0.lock().poll(time, cx)).await;
    }
}

/// A [`DeadlineTimer`] as hyper asks for timers.
#[derive(Debug)]
pub(crate) struct HyperTimer(pub(crate) DeadlineTimer);

/// One wait of hyper's.
#[derive(Debug)]
struct HyperSleep {
    timer: DeadlineTimer,
    time: Instant,
}

impl hyper::rt::Timer for HyperTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(HyperSleep { timer: self.0.clone(), time: deadline.into() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

impl hyper::rt::Sleep for HyperSleep {}

impl Future for HyperSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.0.lock().poll(self.time, cx)
    }
}

/// Why a wait with an [`IdleTimeout`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TimedOut {
    /// The deadline of the whole has come.
    Deadline,
    /// Nothing came for this long.
    Idle(Duration),
}

/// Ends a wait at a deadline, or when nothing came for too long.
///
/// The time without activity is measured when the timer fires and not at each event, which would cost each of them a
/// look at the clock: silence is noticed after one to two times the bound.
#[derive(Debug)]
pub(crate) struct IdleTimeout {
    deadline: Instant,
    idle: Duration,
    timer: LazyTimer,
    /// When the timer fires next; absent until the first wait.
    next: Option<Instant>,
    /// Whether anything came since it was set.
    is_active: bool,
}

impl IdleTimeout {
    pub(crate) fn new(deadline: Instant, idle: Duration) -> Self {
        Self { deadline, idle, timer: LazyTimer::default(), next: None, is_active: false }
    }

    /// Something came.
    pub(crate) const fn record_activity(&mut self) {
        self.is_active = true;
    }

    /// Whether the wait is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TimedOut> {
        let next = |now: Instant| self.deadline.min(now + self.idle);
        let mut until = *self.next.get_or_insert_with(|| {
            self.is_active = false;
            next(Instant::now())
        });
        loop {
            ready!(self.timer.poll(until, cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(TimedOut::Deadline);
            }
            if !std::mem::take(&mut self.is_active) {
                return Poll::Ready(TimedOut::Idle(self.idle));
            }
            until = next(now);
            self.next = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fires_at_the_time_asked_for_last() {
        let (timer, begin) = (DeadlineTimer::default(), Instant::now());
        let at = |secs| begin + Duration::from_secs(secs);
        // The first wait is given up; the second asks for a later time, the third for an earlier one.
        assert!(futures_util::poll!(Box::pin(timer.until(at(30)))).is_pending());
        assert!(futures_util::poll!(Box::pin(timer.until(at(600)))).is_pending());
        timer.until(at(10)).await;
        assert_eq!(Instant::now(), at(10));
        timer.until(at(45)).await;
        assert_eq!(Instant::now(), at(45));
        timer.until(at(45)).await;
        assert_eq!(Instant::now(), at(45));
    }
}
