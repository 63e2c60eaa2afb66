//! Requests that wait in order for a slot that others release.
//!
//! A waiter tries again only after [`WaitQueue::wake`], so no release is missed and nothing is polled. The order is by
//! class, then by arrival.

use crate::wait_times::{WaitTimes, WaitingSince};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// The class of a waiting request; lower classes go first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct WaitClass(pub u8);

/// Which waiters may try to take a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WaitOrder {
    /// Only the first: no waiter is overtaken.
    FirstOnly,
    /// Each in turn: a waiter that needs one particular slot does not block those behind it.
    EachInTurn,
}

/// The result of an attempt to take a slot.
#[derive(Debug)]
pub enum WaitAttempt<T> {
    /// It was taken.
    Taken(T),
    /// It is not there yet.
    NotYet,
    /// It will not come: the wait is over.
    GiveUp,
}

/// The queue of requests that wait for one kind of slot.
#[derive(Debug)]
pub struct WaitQueue {
    order: WaitOrder,
    line: Mutex<WaitLine>,
    /// How many wait. Read before the lock is taken, so that a release costs one load while the queue is empty.
    waiting: AtomicUsize,
}

/// The place of a waiter: its class, and its number among all that ever waited.
type Position = (WaitClass, u64);

#[derive(Debug, Default)]
struct WaitLine {
    next_number: u64,
    waiters: BTreeMap<Position, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    /// Whether it is to try when it is polled next.
    due: bool,
    waker: Option<Waker>,
}

impl WaitLine {
    /// Lets the first waiter behind `position` try; the very first where there is none.
    fn call_next(&mut self, position: Option<Position>) {
        let behind = position.map_or(Bound::Unbounded, Bound::Excluded);
        if let Some((_, waiter)) = self.waiters.range_mut((behind, Bound::Unbounded)).next() {
            waiter.due = true;
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }
}

impl WaitQueue {
    /// An empty queue.
    pub fn new(order: WaitOrder) -> Self {
        Self { order, line: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Whether no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// A slot was released: waiters try to take it, in order.
    pub fn wake(&self) {
        if !self.is_empty() {
            self.line.lock().call_next(None);
        }
    }

    /// Waits until `attempt` takes something; `None` when it gave up. Dropping the future leaves the queue.
    ///
    /// The first attempt is made at once, except in [`WaitOrder::FirstOnly`] behind others.
    pub async fn wait<T>(&self, class: WaitClass, mut attempt: impl FnMut() -> WaitAttempt<T>) -> Option<T> {
        let place = self.join(class);
        poll_fn(|cx| place.poll(cx, &mut attempt)).await
    }

    fn join(&self, class: WaitClass) -> QueuePlace<'_> {
        let mut line = self.line.lock();
        let position = (class, line.next_number);
        line.next_number += 1;
        let is_first = line.waiters.first_key_value().is_none_or(|(first, _)| position < *first);
        let due = is_first || self.order == WaitOrder::EachInTurn;
        line.waiters.insert(position, Waiter { due, waker: None });
        self.waiting.fetch_add(1, Ordering::SeqCst);
        QueuePlace { queue: self, position }
    }
}

/// One request's place in the queue.
struct QueuePlace<'a> {
    queue: &'a WaitQueue,
    position: Position,
}

impl QueuePlace<'_> {
    fn poll<T>(&self, cx: &mut Context<'_>, attempt: &mut impl FnMut() -> WaitAttempt<T>) -> Poll<Option<T>> {
        loop {
            {
                let mut line = self.queue.line.lock();
                let Some(waiter) = line.waiters.get_mut(&self.position) else { return Poll::Ready(None) };
                // The waker is left before the attempt, so that a release during it calls this waiter again.
                waiter.waker = Some(cx.waker().clone());
                if !std::mem::take(&mut waiter.due) {
                    return Poll::Pending;
                }
            }
            match attempt() {
                WaitAttempt::Taken(taken) => return Poll::Ready(Some(taken)),
                WaitAttempt::GiveUp => return Poll::Ready(None),
                WaitAttempt::NotYet if self.queue.order == WaitOrder::EachInTurn => {
                    self.queue.line.lock().call_next(Some(self.position));
                }
                WaitAttempt::NotYet => {}
            }
        }
    }
}

impl Drop for QueuePlace<'_> {
    /// The next waiter tries too: there may be more slots, or this waiter was woken and left without taking one.
    fn drop(&mut self) {
        let mut line = self.queue.line.lock();
        line.waiters.remove(&self.position);
        self.queue.waiting.fetch_sub(1, Ordering::SeqCst);
        match self.queue.order {
            WaitOrder::FirstOnly => line.call_next(None),
            WaitOrder::EachInTurn => line.call_next(Some(self.position)),
        }
    }
}

/// How many requests may wait, in all queues together that share this limit.
#[derive(Debug)]
pub struct WaitLimit {
    limit: AtomicUsize,
    waiting: AtomicUsize,
    times: Arc<WaitTimes>,
}

impl WaitLimit {
    /// At most `limit` requests wait.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit: AtomicUsize::new(limit), waiting: AtomicUsize::new(0), times: Arc::default() })
    }

    /// Changes how many may wait. Those that wait already stay, even if they are more.
    pub fn set(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Since when requests wait: those that count against the limit, and others that [enter](WaitTimes::enter) there.
    pub const fn times(&self) -> &Arc<WaitTimes> {
        &self.times
    }

    /// Whether as many wait as may.
    pub fn is_full(&self) -> bool {
        self.waiting() >= self.limit.load(Ordering::Relaxed)
    }

    /// The right to wait, until it is dropped; `None` when too many wait already.
    pub fn enter(self: &Arc<Self>) -> Option<WaitPermit> {
        let limit = self.limit.load(Ordering::Relaxed);
        let more = |waiting| (waiting < limit).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.is_ok().then(|| WaitPermit { limit: Arc::clone(self), _since: self.times.enter() })
    }
}

/// The right of one request to wait.
#[derive(Debug)]
pub struct WaitPermit {
    limit: Arc<WaitLimit>,
    _since: WaitingSince,
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        self.limit.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{BoxFuture, FutureExt as _};
    use std::cell::Cell;
    use std::sync::atomic::AtomicU32;

    /// Takes one of `slots` when one is left.
    fn take(slots: &AtomicU32) -> WaitAttempt<()> {
        let less = |left: u32| left.checked_sub(1);
        match slots.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => WaitAttempt::Taken(()),
            Err(_) => WaitAttempt::NotYet,
        }
    }

    fn wait<'a>(queue: &'a WaitQueue, class: u8, slots: &'a AtomicU32) -> BoxFuture<'a, Option<()>> {
        queue.wait(WaitClass(class), || take(slots)).boxed()
    }

    fn is_done(waiter: &mut BoxFuture<'_, Option<()>>) -> bool {
        waiter.now_or_never().is_some()
    }

    #[test]
    fn class_precedes_arrival() {
        let (queue, slots) = (WaitQueue::new(WaitOrder::FirstOnly), AtomicU32::new(0));
        let (mut a, mut b, mut urgent) =
            (wait(&queue, 1, &slots), wait(&queue, 1, &slots), wait(&queue, 0, &slots));
        assert!(![&mut a, &mut b, &mut urgent].into_iter().any(is_done));
        slots.store(2, Ordering::Relaxed);
        assert!(!is_done(&mut b), "it was not called");
        queue.wake();
        assert!(!is_done(&mut b) && is_done(&mut urgent));
        assert!(!is_done(&mut b) && is_done(&mut a), "the next is called when one has taken");
        assert!(!is_done(&mut b));
        assert!(!queue.is_empty());
        drop(b);
        assert!(queue.is_empty());
    }

    #[test]
    fn dropped_waiter_wakes_the_next() {
        let (queue, slots) = (WaitQueue::new(WaitOrder::FirstOnly), AtomicU32::new(0));
        let (mut a, mut b) = (wait(&queue, 0, &slots), wait(&queue, 0, &slots));
        assert!(!is_done(&mut a) && !is_done(&mut b));
        slots.store(1, Ordering::Relaxed);
        queue.wake();
        drop(a);
        assert!(is_done(&mut b));
    }

    #[test]
    fn release_during_attempt_is_seen() {
        let queue = WaitQueue::new(WaitOrder::FirstOnly);
        let attempts = Cell::new(0);
        let waiter = queue.wait(WaitClass::default(), || {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 1 {
                // Given back after this waiter looked and before it sleeps.
                queue.wake();
                return WaitAttempt::NotYet;
            }
            WaitAttempt::Taken(())
        });
        assert_eq!(waiter.now_or_never(), Some(Some(())));
    }

    #[test]
    fn each_in_turn_skips_blocked_waiter() {
        let queue = WaitQueue::new(WaitOrder::EachInTurn);
        let (never, slots) = (AtomicU32::new(0), AtomicU32::new(0));
        let (mut stuck, mut other) = (wait(&queue, 0, &never), wait(&queue, 0, &slots));
        assert!(!is_done(&mut stuck) && !is_done(&mut other));
        slots.store(1, Ordering::Relaxed);
        queue.wake();
        assert!(!is_done(&mut stuck) && is_done(&mut other));
    }

    #[test]
    fn limit_is_shared_and_given_back() {
        let limit = WaitLimit::new(1);
        let permit = limit.enter().unwrap();
        assert!(limit.is_full() && limit.enter().is_none());
        drop(permit);
        assert_eq!(limit.waiting(), 0);
        assert!(limit.enter().is_some());
    }
}
