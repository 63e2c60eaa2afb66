//! Records on their way to the recorder's thread: in order, bounded, and never waited for.
//!
//! Not a channel: records lie side by side in batches that are used again, so passing one on takes a short lock and a
//! copy, and neither an allocation nor a wake-up. The thread comes for them by itself.

use crate::record::Record;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Records of one batch.
const BATCH: usize = 256;

/// Batches that may wait; with the open one about 65,000 records, at 10,000 requests/s three seconds of them.
const BATCHES: usize = 255;

/// Empty batches that are kept for use; what a burst needed beyond them is given back to the system.
const SPARE: usize = 8;

/// The thread is too far behind; the record is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct QueueFull;

/// Waiting records, oldest first.
#[derive(Debug, Default)]
pub(crate) struct RecordQueue(Mutex<Batches>);

#[derive(Debug, Default)]
struct Batches {
    full: VecDeque<Vec<Record>>,
    open: Vec<Record>,
    spare: Vec<Vec<Record>>,
}

impl RecordQueue {
    /// Adds a record to the end.
    ///
    /// # Errors
    /// As many records as may wait do.
    pub(crate) fn push(&self, record: Record) -> Result<(), QueueFull> {
        let mut batches = self.0.lock();
        if batches.open.len() == batches.open.capacity() {
            if batches.full.len() >= BATCHES {
                return Err(QueueFull);
            }
            batches.turn();
        }
        batches.open.push(record);
        Ok(())
    }

    /// The oldest records; none when none wait.
    pub(crate) fn take(&self) -> Option<Vec<Record>> {
        let mut batches = self.0.lock();
        if batches.full.is_empty() && !batches.open.is_empty() {
            batches.turn();
        }
        batches.full.pop_front()
    }

    /// Takes a batch back that has been read.
    pub(crate) fn give_back(&self, mut batch: Vec<Record>) {
        batch.clear();
        let mut batches = self.0.lock();
        if batches.spare.len() < SPARE {
            batches.spare.push(batch);
        }
    }
}

impl Batches {
    /// Closes the open batch and opens an empty one.
    fn turn(&mut self) {
        let empty = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH));
        let closed = std::mem::replace(&mut self.open, empty);
        if !closed.is_empty() {
            self.full.push_back(closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn record(n: usize) -> Record {
        Record::FirstByte(HeaderValue::from(n))
    }

    fn numbers(queue: &RecordQueue) -> Vec<usize> {
        let mut all = Vec::new();
        while let Some(batch) = queue.take() {
            all.extend(batch.iter().map(|record| match record {
                Record::FirstByte(id) => id.to_str().unwrap().parse::<usize>().unwrap(),
                other => panic!("{other:?}"),
            }));
            queue.give_back(batch);
        }
        all
    }

    #[test]
    fn records_keep_their_order() {
        let queue = RecordQueue::default();
        for round in 0..3 {
            (0..1000).for_each(|n| queue.push(record(n)).unwrap());
            assert_eq!(numbers(&queue), (0..1000).collect::<Vec<_>>(), "round {round}");
        }
        assert!(queue.take().is_none());
    }

    #[test]
    fn full_queue_rejects_until_taken() {
        let queue = RecordQueue::default();
        let fitted = (0..).take_while(|n| queue.push(record(*n)).is_ok()).count();
        assert_eq!(fitted, BATCH * (BATCHES + 1));
        assert_eq!(numbers(&queue).len(), fitted);
        assert_eq!(queue.push(record(0)), Ok(()));
    }
}
