//! How many requests are served at a time.

use router_upstream::{WaitAttempt, WaitClass, WaitOrder, WaitQueue};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit, and the queue of requests that wait for a permit.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    max: AtomicUsize,
    in_use: AtomicUsize,
    queue: WaitQueue,
}

/// The right to be served. It is held by the response's body and ends with it.
#[derive(Debug)]
pub(crate) struct Permit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    pub(super) fn new(max: Option<NonZeroUsize>) -> Arc<Self> {
        let queue = WaitQueue::new(WaitOrder::FirstOnly);
        let max = AtomicUsize::new(most(max));
        Arc::new(Self { max, in_use: AtomicUsize::new(0), queue })
    }

    /// Changes the limit; `None` is none. Requests that are served stay, even if they are more; those that wait try again.
    pub(super) fn set(&self, max: Option<NonZeroUsize>) {
        self.max.store(most(max), Ordering::SeqCst);
        self.queue.wake();
    }

    /// Whether a request that arrives now has to wait.
    pub(super) fn is_reached(&self) -> bool {
        !self.queue.is_empty() || self.in_use.load(Ordering::SeqCst) >= self.max.load(Ordering::SeqCst)
    }

    /// A permit, unless none is left or others wait for one.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        if self.queue.is_empty() { self.take() } else { None }
    }

    /// A permit when one is left, after those that wait already.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let attempt = || self.take().map_or(WaitAttempt::NotYet, WaitAttempt::Taken);
        self.queue.wait(WaitClass::default(), attempt).await
    }

    fn take(self: &Arc<Self>) -> Option<Permit> {
        let max = self.max.load(Ordering::SeqCst);
        let more = |in_use| (in_use < max).then_some(in_use + 1);
        let taken = self.in_use.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }
}

/// The most requests at a time.
fn most(max: Option<NonZeroUsize>) -> usize {
    max.map_or(usize::MAX, NonZeroUsize::get)
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.wake();
    }
}
