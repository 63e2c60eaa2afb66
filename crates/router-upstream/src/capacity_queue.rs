//! Requests that wait because every worker is at its cap of requests in flight.

use crate::wait_queue::{WaitAttempt, WaitClass, WaitLimit, WaitOrder, WaitQueue};
use crate::wait_times::WaitingSince;
use router_core::{InFlightCap, NoWorker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Why no worker can be chosen now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Availability {
    /// A worker is in service but at its cap: waiting helps.
    AtCapacity,
    /// No worker is in service.
    Unavailable,
}

/// Why a request got no worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DispatchError {
    /// Every worker is at its cap, and the request may not wait (any longer).
    AtCapacity,
    /// No worker is in service.
    Unavailable,
}

/// The queue of requests for a worker below its cap. When a request ends, only the first in the queue is dispatched.
#[derive(Debug)]
pub struct CapacityQueue {
    /// Whether workers have a cap at all.
    is_capped: AtomicBool,
    queue: WaitQueue,
    limit: Arc<WaitLimit>,
    /// In nanoseconds.
    timeout: AtomicU64,
}

impl CapacityQueue {
    /// A queue for workers with `cap` requests in flight at most. Its requests count against `limit` and wait for at most
    /// `timeout`.
    pub fn new(cap: InFlightCap, limit: Arc<WaitLimit>, timeout: Duration) -> Self {
        let queue = WaitQueue::new(WaitOrder::FirstOnly);
        let new = Self { is_capped: AtomicBool::default(), queue, limit, timeout: AtomicU64::default() };
        new.set(cap, timeout);
        new
    }

    /// Changes the cap and how long requests wait. Those that wait try again, as more may be free; they wait as long as before.
    pub fn set(&self, cap: InFlightCap, timeout: Duration) {
        self.is_capped.store(!cap.is_unlimited(), Relaxed);
        self.timeout.store(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.queue.wake();
    }

    /// A request has left its worker, or a worker came into service.
    pub fn slot_released(&self) {
        if self.is_capped() || !self.queue.is_empty() {
            self.queue.wake();
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// A request waits for a worker to come into service, outside of this queue, until what is returned is dropped.
    pub fn waits_elsewhere(&self) -> WaitingSince {
        self.limit.times().enter()
    }

    /// Whether a worker can be at a cap at all.
    pub fn is_capped(&self) -> bool {
        self.is_capped.load(Relaxed)
    }

    /// Dispatches now, unless others wait.
    pub fn try_dispatch<T>(&self, dispatch: impl FnOnce() -> Result<T, NoWorker>) -> Option<T> {
        if self.is_capped() && !self.queue.is_empty() {
            return None;
        }
        dispatch().ok()
    }

    /// Dispatches now, or when a worker that is at its cap has room again.
    ///
    /// # Errors
    /// When waiting does not help, or is not allowed (any longer).
    pub async fn dispatch_or_wait<T>(
        &self,
        availability: impl Fn() -> Availability,
        mut dispatch: impl FnMut() -> Result<T, NoWorker>,
    ) -> Result<T, DispatchError> {
        if let Some(dispatched) = self.try_dispatch(&mut dispatch) {
            return Ok(dispatched);
        }
        if !self.is_capped() || (self.queue.is_empty() && availability() == Availability::Unavailable) {
            return Err(DispatchError::Unavailable);
        }
        let _permit = self.limit.enter().ok_or(DispatchError::AtCapacity)?;
        let wait = self.queue.wait(WaitClass::default(), || match dispatch() {
            Ok(dispatched) => WaitAttempt::Taken(dispatched),
            Err(NoWorker) if availability() == Availability::Unavailable => WaitAttempt::GiveUp,
            Err(NoWorker) => WaitAttempt::NotYet,
        });
        match tokio::time::timeout(Duration::from_nanos(self.timeout.load(Relaxed)), wait).await {
            Ok(Some(dispatched)) => Ok(dispatched),
            Ok(None) => Err(DispatchError::Unavailable),
            Err(_) => Err(DispatchError::AtCapacity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::num::NonZeroU32;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn full_fleet_is_waited_for_in_order() {
        let queue = CapacityQueue::new(
            InFlightCap::Fixed(NonZeroU32::MIN),
            WaitLimit::new(2),
            Duration::from_secs(10),
        );
        let free = Cell::new(1_u32);
        let later = || Availability::AtCapacity;
        let dispatch = || free.get().checked_sub(1).map(|left| free.set(left)).ok_or(NoWorker);
        assert!(queue.dispatch_or_wait(later, dispatch).await.is_ok());
        let (mut first, mut second) = (
            Box::pin(queue.dispatch_or_wait(later, dispatch)),
            Box::pin(queue.dispatch_or_wait(later, dispatch)),
        );
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut first).await.is_err(), "there is no room");
        assert!(tokio::time::timeout(soon, &mut second).await.is_err());
        let third = queue.dispatch_or_wait(later, dispatch).await;
        assert!(third.is_err_and(|e| e == DispatchError::AtCapacity), "the queue is full");
        free.set(1);
        queue.slot_released();
        assert!(tokio::time::timeout(soon, &mut second).await.is_err(), "the queue is in order");
        assert!(first.await.is_ok());
        let began = Instant::now();
        assert!(second.await.is_err_and(|e| e == DispatchError::AtCapacity));
        assert!(began.elapsed() <= Duration::from_secs(10));
        assert!(
            queue
                .dispatch_or_wait(|| Availability::Unavailable, dispatch)
                .await
                .is_err_and(|e| e == DispatchError::Unavailable),
            "no worker to wait for"
        );
    }
}
