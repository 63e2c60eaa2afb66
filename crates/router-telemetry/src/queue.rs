//! The queue between request handling and the recorder's thread: ordered, bounded, and never waited for.

use crossbeam_queue::SegQueue;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The queue is full; the value was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// Waiting values, oldest first.
///
/// Its memory follows what waits, which is why it is not an `ArrayQueue`: that one would hold, and after some time have
/// touched, room for all that may wait.
#[derive(Debug)]
pub(crate) struct BoundedQueue<T> {
    values: SegQueue<T>,
    /// How many values wait or are being pushed.
    len: AtomicUsize,
}

impl<T> Default for BoundedQueue<T> {
    fn default() -> Self {
        Self { values: SegQueue::new(), len: AtomicUsize::new(0) }
    }
}

impl<T> BoundedQueue<T> {
    /// The most values that wait: three seconds of them at 10,000 requests per second.
    pub(crate) const CAPACITY: usize = 1 << 16;

    /// Adds a value at the end.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn push(&self, value: T) -> Result<(), QueueFull> {
        if self.len.fetch_add(1, Ordering::Relaxed) >= Self::CAPACITY {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(QueueFull);
        }
        self.values.push(value);
        Ok(())
    }

    /// Takes the oldest value; none if no value waits.
    pub(crate) fn pop(&self) -> Option<T> {
        let value = self.values.pop()?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order() {
        let queue = BoundedQueue::default();
        for round in 0..3 {
            (0..1000).for_each(|n| queue.push(n).unwrap());
            let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
            assert_eq!(taken, (0..1000).collect::<Vec<_>>(), "round {round}");
        }
    }

    #[test]
    fn full_queue_rejects_until_taken() {
        let queue = BoundedQueue::default();
        let fitted = (0..).take_while(|n| queue.push(*n).is_ok()).count();
        assert_eq!(fitted, BoundedQueue::<usize>::CAPACITY);
        assert_eq!(queue.push(0), Err(QueueFull), "a rejected value takes no room");
        assert_eq!(queue.pop(), Some(0));
        assert_eq!((queue.push(0), queue.push(0)), (Ok(()), Err(QueueFull)));
    }
}
