//! How many requests are served at a time.

use router_upstream::{WaitAttempt, WaitClass, WaitOrder, WaitQueue};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The limit, and the queue of requests that wait for a permit.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    max: usize,
    in_use: AtomicUsize,
    queue: WaitQueue,
}

/// The right to be served. It is held by the response's body and ends with it.
#[derive(Debug)]
pub(crate) struct Permit(Arc<ConcurrencyLimit>);

impl ConcurrencyLimit {
    pub(super) fn new(max: NonZeroUsize) -> Arc<Self> {
        let queue = WaitQueue::new(WaitOrder::FirstOnly);
        Arc::new(Self { max: max.get(), in_use: AtomicUsize::new(0), queue })
    }

    /// Whether a request that arrives now has to wait.
    pub(super) fn is_reached(&self) -> bool {
        !self.queue.is_empty() || self.in_use.load(Ordering::SeqCst) >= self.max
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
        let more = |in_use| (in_use < self.max).then_some(in_use + 1);
        let taken = self.in_use.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.is_ok().then(|| Permit(Arc::clone(self)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.wake();
    }
}
