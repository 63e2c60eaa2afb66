//! The bounded run of a target: seeded mutations of a corpus, then long messages under a limit of time and memory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this module")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

use router_core::Rng;

/// All messages follow from it. Another seed tries other messages.
const SEED: u64 = 20;

/// Messages of a corpus are cut to this length, in bytes, so that mutations hit what matters.
const LONGEST_SEED: usize = 3000;

/// Linear code needs milliseconds for a long message; code that is quadratic in a megabyte needs longer than this.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Most memory that a target may use, in multiples of its input's length.
const MEMORY_FACTOR: u64 = 16;

/// Makes messages out of those of a corpus.
pub struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
}

impl Mutator {
    /// A mutator of the messages in `corpus`, which inserts `words` as well. Its seed follows from `name`.
    pub fn new(name: &str, mut corpus: Vec<Vec<u8>>, words: &'static [&'static str]) -> Self {
        let seed = name.bytes().fold(SEED, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        corpus.retain(|message| !message.is_empty());
        corpus.iter_mut().for_each(|message| message.truncate(LONGEST_SEED));
        assert!(!corpus.is_empty(), "{name}: no corpus");
        Self { rng: Rng::seeded(seed), corpus, words }
    }

    /// A number for the target to choose by.
    pub fn choice(&mut self) -> u8 {
        u8::try_from(self.rng.below(256)).unwrap_or_default()
    }

    fn pick(&mut self) -> Vec<u8> {
        let i = self.rng.below(self.corpus.len());
        self.corpus[i].clone()
    }

    /// A word, or less often a part of a message of the corpus.
    fn piece(&mut self) -> Vec<u8> {
        if self.rng.below(3) > 0 {
            return self.words[self.rng.below(self.words.len())].as_bytes().to_vec();
        }
        let whole = self.pick();
        let from = self.rng.below(whole.len());
        let len = 1 + self.rng.below(40);
        whole[from..(from + len).min(whole.len())].to_vec()
    }

    /// A message with one to six mutations.
    pub fn message(&mut self) -> Vec<u8> {
        let mut bytes = if self.rng.below(8) == 0 { Vec::new() } else { self.pick() };
        for _ in 0..=self.rng.below(6) {
            let at = self.rng.below(bytes.len() + 1);
            let end = (at + 1 + self.rng.below(30)).min(bytes.len());
            match self.rng.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.rng.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.truncate(at),
                3 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    let piece = self.piece();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }

    /// A message of `length` bytes or a little more: pieces repeated between two parts of a message of the corpus.
    pub fn long_message(&mut self, length: usize) -> Vec<u8> {
        let whole = self.pick();
        let cut = self.rng.below(whole.len() + 1);
        let mut bytes = whole[..cut].to_vec();
        let mut piece = Vec::new();
        for _ in 0..=self.rng.below(3) {
            piece.extend(self.piece());
        }
        while bytes.len() < length {
            bytes.extend_from_slice(&piece);
        }
        bytes.extend_from_slice(&whole[cut..]);
        bytes
    }
}

/// Puts `count` mutated messages through a target. A failure prints the bytes.
pub fn run_mutated(name: &str, mutator: &mut Mutator, count: usize, target: fn(u8, &[u8])) {
    for case in 0..count {
        let message = mutator.message();
        let choice = mutator.choice();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(choice, &message)));
        assert!(outcome.is_ok(), "{name}, case {case}, choice {choice}: b\"{}\"", message.escape_ascii());
    }
}

/// Puts `count` messages of `length` bytes through a target, which must need no more than linear time and memory.
pub fn run_long(name: &str, mutator: &mut Mutator, count: usize, length: usize, target: fn(u8, &[u8])) {
    for _ in 0..count {
        let message = mutator.long_message(length);
        let choice = mutator.choice();
        let (start, len) = (message[..200].escape_ascii().to_string(), message.len());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let used = allocation_counter::measure(|| target(choice, &message));
            let _ = sender.send(used.bytes_max);
        });
        let used = receiver.recv_timeout(TIME_LIMIT);
        let used = used.unwrap_or_else(|e| panic!("{name}: {e} on {len} bytes that begin with b\"{start}\""));
        let most = MEMORY_FACTOR * len as u64;
        assert!(used <= most, "{name} took {used} bytes for {len} that begin with b\"{start}\"");
    }
}
