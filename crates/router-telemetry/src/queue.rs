//! The queue between request handling and the recorder's thread: ordered and bounded. Nothing waits for room in it.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// The queue is full; the value was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// Values of one chunk.
const CHUNK: usize = 32;

/// Empty chunks that are kept to be filled again.
const SPARE_CHUNKS: usize = 16;

/// Waiting values, oldest first, in chunks that are taken whole.
///
/// A value lies in its chunk, not in memory of its own that one thread would get and another give back. Memory follows
/// what waits, because chunks are added and removed.
#[derive(Debug)]
pub(crate) struct BoundedQueue<T> {
    chunks: Mutex<Chunks<T>>,
}

#[derive(Debug)]
struct Chunks<T> {
    /// Full ones, oldest first.
    full: VecDeque<Vec<T>>,
    /// The one that is being filled.
    last: Vec<T>,
    spare: Vec<Vec<T>>,
}

impl<T> Default for BoundedQueue<T> {
    fn default() -> Self {
        let chunks = Chunks { full: VecDeque::new(), last: Vec::new(), spare: Vec::new() };
        Self { chunks: Mutex::new(chunks) }
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
        let mut chunks = self.chunks.lock();
        if chunks.len() >= Self::CAPACITY {
            return Err(QueueFull);
        }
        chunks.push(value);
        Ok(())
    }

    /// Adds a value at the end, also when the queue is full.
    pub(crate) fn push_always(&self, value: T) {
        self.chunks.lock().push(value);
    }

    /// Takes the oldest values, oldest first; none if no value waits.
    pub(crate) fn take(&self) -> Option<Vec<T>> {
        let mut chunks = self.chunks.lock();
        if let Some(oldest) = chunks.full.pop_front() {
            return Some(oldest);
        }
        if chunks.last.is_empty() {
            return None;
        }
        let spare = chunks.spare.pop().unwrap_or_default();
        Some(std::mem::replace(&mut chunks.last, spare))
    }

    /// Gives a taken chunk back, to be filled again.
    pub(crate) fn recycle(&self, mut chunk: Vec<T>) {
        chunk.clear();
        let mut chunks = self.chunks.lock();
        if chunks.spare.len() < SPARE_CHUNKS {
            chunks.spare.push(chunk);
        }
    }
}

impl<T> Chunks<T> {
    fn len(&self) -> usize {
        self.full.len() * CHUNK + self.last.len()
    }

    fn push(&mut self, value: T) {
        if self.last.len() == CHUNK {
            let next = self.spare.pop().unwrap_or_default();
            self.full.push_back(std::mem::replace(&mut self.last, next));
        }
        // At once, because growth would copy it; no effect on a chunk that was filled before.
        if self.last.capacity() < CHUNK {
            self.last.reserve_exact(CHUNK);
        }
        self.last.push(value);
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
            let mut taken = Vec::new();
            while let Some(mut chunk) = queue.take() {
                taken.append(&mut chunk);
                queue.recycle(chunk);
            }
            assert_eq!(taken, (0..1000).collect::<Vec<_>>(), "round {round}");
        }
    }

    #[test]
    fn full_queue_rejects_until_taken() {
        let queue = BoundedQueue::default();
        let fitted = (0..).take_while(|n| queue.push(*n).is_ok()).count();
        assert_eq!(fitted, BoundedQueue::<usize>::CAPACITY);
        assert_eq!(queue.push(0), Err(QueueFull), "a rejected value takes no room");
        queue.push_always(7);
        let taken = queue.take().unwrap();
        assert_eq!(taken[0], 0);
        let fitted = (0..).take_while(|n| queue.push(*n).is_ok()).count();
        assert_eq!(fitted, taken.len() - 1, "the value that had to go in takes room");
    }
}
