//! The bounded run of the target `record_queue`: sequences of operations on the queue and its model.

mod support;

use router_fuzz::record_queue;
use support::{Mutator, run_mutated};

/// Mutated sequences of operations.
const CASES: usize = 1000;

/// Operations: pushes of 1, 2, 16 and 128 values, takes, and returns of batches.
const WORDS: [&str; 7] = ["\0", "\x10", "@", "p", "\x03", "\x02", "\x02\x03\x02"];

#[test]
fn queue_agrees_with_its_model() {
    let corpus = vec![
        vec![0x00, 0x02, 0x03, 0x00, 0x02],
        vec![0x80, 0x02, 0x80, 0x80, 0x02, 0x02, 0x03, 0x03, 0x00],
        vec![0xf0, 0xf0, 0xf0, 0x02, 0x80, 0x03, 0x80, 0x02],
        vec![0xc0, 0x02, 0x02, 0x02, 0x03, 0x03, 0xc0, 0x02, 0x03, 0x80, 0x02],
    ];
    let mut mutator = Mutator::new("record_queue", corpus, &WORDS);
    run_mutated("record_queue", &mut mutator, CASES, |_, operations| record_queue::run(operations));
}
