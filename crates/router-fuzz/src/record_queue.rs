//! Target `record_queue`: the recorder's queue of `router-telemetry` beside a model, a plain `VecDeque`.

use router_telemetry::BatchQueue;
use std::collections::VecDeque;

/// Runs the operations that the bytes stand for: pushes, takes, and returns of batches that were taken.
///
/// # Panics
/// When the queue loses, adds or reorders values, or is full at another length than the model.
pub fn run(input: &[u8]) {
    let queue = BatchQueue::default();
    let mut model = VecDeque::new();
    let mut taken = Vec::new();
    let mut next = 0_u32;
    for &operation in input {
        match operation % 4 {
            0 | 1 => {
                for _ in 0..1 << (operation >> 4) {
                    let fits = model.len() < BatchQueue::<u32>::CAPACITY;
                    assert_eq!(queue.push(next).is_ok(), fits, "{} values wait", model.len());
                    if fits {
                        model.push_back(next);
                    }
                    next = next.wrapping_add(1);
                }
            }
            2 => match queue.take() {
                Some(batch) => {
                    assert!(!batch.is_empty() && batch.len() <= model.len(), "a batch of {}", batch.len());
                    let expected: Vec<u32> = model.drain(..batch.len()).collect();
                    assert_eq!(batch, expected, "the oldest values, in order");
                    taken.push(batch);
                }
                None => assert!(model.is_empty(), "values wait, but none is taken"),
            },
            _ => taken.pop().into_iter().for_each(|batch| queue.give_back(batch)),
        }
    }
}
