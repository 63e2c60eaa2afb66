//! The timer of one connection: set with every request, and seldom let ring.

use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is asked for a later time again and again, as the bounds of one request after the other are.
///
/// Setting a timer of the runtime and taking it back costs as much as a good part of a request. This one stays set at
/// the earliest time that it was asked for; when it rings, and that is too early for whoever waits now, it is set anew.
/// One task at a time waits for it.
#[derive(Clone, Default, Debug)]
pub(crate) struct Alarm(Arc<Mutex<Option<Pin<Box<Sleep>>>>>);

impl Alarm {
    /// Whether `time` has come.
    pub(crate) fn poll(&self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let mut sleep = self.0.lock();
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(time)));
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

    /// Waits until `time`.
    pub(crate) async fn until(&self, time: Instant) {
        poll_fn(|cx| self.poll(time, cx)).await;
    }
}

/// The alarm as hyper asks for it, which bounds the wait for a request's head.
#[derive(Debug)]
pub(crate) struct HeadTimer(pub(crate) Alarm);

/// A time of that alarm.
#[derive(Debug)]
struct Ring {
    alarm: Alarm,
    time: Instant,
}

impl hyper::rt::Timer for HeadTimer {
    fn sleep(&self, duration: std::time::Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Ring { alarm: self.0.clone(), time: deadline.into() })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into()
    }
}

impl hyper::rt::Sleep for Ring {}

impl Future for Ring {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll(self.time, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_time_that_was_asked_for_last() {
        let (alarm, begin) = (Alarm::default(), Instant::now());
        let at = |secs| begin + Duration::from_secs(secs);
        // Nobody waits for the first time to the end; the second is later, the third earlier.
        assert!(futures_util::poll!(Box::pin(alarm.until(at(30)))).is_pending());
        assert!(futures_util::poll!(Box::pin(alarm.until(at(600)))).is_pending());
        alarm.until(at(10)).await;
        assert_eq!(Instant::now(), at(10));
        alarm.until(at(45)).await;
        assert_eq!(Instant::now(), at(45));
        alarm.until(at(45)).await;
        assert_eq!(Instant::now(), at(45));
    }
}
