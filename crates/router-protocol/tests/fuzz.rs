//! A million mutated messages, and long ones made of one piece over and over: no reader panics, none takes more than
//! linear time or memory.
//!
//! Everything follows from `SEED`, so a failure comes back; it prints the bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use bytes::Bytes;
use router_core::{Rng, Route};
use router_protocol::{
    LoadEndpoint, StreamObserver, error_body, parse_load, parse_orca, parse_server_info, prefix_hashes,
    read_response, scan, set_members,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Another one tries other messages.
const SEED: u64 = 20;

/// Cases for each reader; there are eight.
const CASES: usize = 130_000;

/// Length of a long message. A reader that goes over it once for each of its bytes is not done before the year ends.
const LONG: usize = 1 << 20;

/// Long messages for each reader.
const LONG_CASES: usize = 60;

/// Linear readers need milliseconds for a long message; no machine is so busy that they need this.
const PATIENCE: Duration = Duration::from_secs(120);

/// Pieces that mean something to one reader or another.
const WORDS: [&str; 56] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "\n",
    "\r\n",
    "\n\n",
    "\r\n\r\n",
    " ",
    "\\u0000",
    "\\ud800",
    "\\\"",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1e309",
    "18446744073709551616",
    "4294967296",
    "0.5",
    "NaN",
    "data: ",
    "data:",
    "event: ",
    "data: [DONE]\n\n",
    ": ping\n\n",
    "\"text\":",
    "\"prompt\":",
    "\"messages\":",
    "\"content\":",
    "\"input_ids\":",
    "\"stream\":true",
    "\"max_tokens\":",
    "\"sampling_params\":{",
    "\"n\":",
    "\"usage\":",
    "\"meta_info\":{",
    "\"finish_reason\":",
    "\"error\":",
    "\"loads\":[",
    "\"num_waiting_reqs\":",
    "\"dp_rank\":",
    "\"load\":",
    "sglang:num_queue_reqs",
    "vllm:num_requests_running",
    "{dp_rank=\"0\"} ",
    "# HELP ",
    "+Inf",
    "TEXT named_metrics.",
    "JSON {",
    "\u{fffd}\u{0}",
];

/// Makes messages out of captured ones.
struct Mutator {
    rng: Rng,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(name: &str, of: impl Fn(&str) -> bool) -> Self {
        let salt = name.bytes().fold(SEED, |s, b| s.wrapping_mul(31).wrapping_add(u64::from(b)));
        let mut corpus = Vec::new();
        for suffix in [".body", ".request"] {
            for path in support::files(&support::data(), suffix) {
                let bytes = std::fs::read(&path).unwrap();
                if of(&path.to_string_lossy()) {
                    let body = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
                    corpus.push(if suffix == ".request" { bytes[body..].to_vec() } else { bytes });
                }
            }
        }
        corpus.retain(|c| !c.is_empty());
        corpus.iter_mut().for_each(|c| c.truncate(3000));
        assert!(!corpus.is_empty(), "{name}: no captures");
        Self { rng: Rng::seeded(salt), corpus }
    }

    fn pick(&mut self) -> Vec<u8> {
        let i = self.rng.below(self.corpus.len());
        self.corpus[i].clone()
    }

    /// A part of a captured message, short ones more often.
    fn piece(&mut self) -> Vec<u8> {
        if self.rng.below(3) > 0 {
            return WORDS[self.rng.below(WORDS.len())].as_bytes().to_vec();
        }
        let whole = self.pick();
        let from = self.rng.below(whole.len());
        let len = 1 + self.rng.below(40);
        whole[from..(from + len).min(whole.len())].to_vec()
    }

    fn message(&mut self) -> Vec<u8> {
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

    /// A message that is one piece over and over, between the halves of a captured one.
    fn long(&mut self) -> Vec<u8> {
        let whole = self.pick();
        let cut = self.rng.below(whole.len() + 1);
        let mut bytes = whole[..cut].to_vec();
        let mut piece = Vec::new();
        for _ in 0..=self.rng.below(3) {
            piece.extend(self.piece());
        }
        while bytes.len() < LONG {
            bytes.extend_from_slice(&piece);
        }
        bytes.extend_from_slice(&whole[cut..]);
        bytes
    }
}

/// Puts the reader through mutated messages, then through long ones.
fn fuzz(name: &'static str, of: impl Fn(&str) -> bool, read: fn(&[u8], &mut Rng)) {
    let mut mutator = Mutator::new(name, of);
    let mut rng = Rng::seeded(1);
    for case in 0..CASES {
        let message = mutator.message();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&message, &mut rng)));
        assert!(outcome.is_ok(), "{name}, case {case}: b\"{}\"", message.escape_ascii());
    }
    for _ in 0..LONG_CASES {
        let message = mutator.long();
        let (shown, len) = (message[..200].escape_ascii().to_string(), message.len());
        let (tell, told) = channel();
        let mut rng = rng.clone();
        std::thread::spawn(move || {
            let used = allocation_counter::measure(|| read(&message, &mut rng));
            let _ = tell.send(used.bytes_max);
        });
        let used = told.recv_timeout(PATIENCE);
        let used = used.unwrap_or_else(|e| panic!("{name}: {e} on {len} bytes that begin with b\"{shown}\""));
        assert!(used <= 16 * len as u64, "{name} took {used} bytes for {len} that begin with b\"{shown}\"");
    }
}

fn route(rng: &mut Rng) -> Route {
    Route::ALL[rng.below(Route::ALL.len())]
}

#[test]
fn requests() {
    fuzz(
        "requests",
        |path| path.ends_with(".request"),
        |bytes, rng| {
            let facts = scan(route(rng), bytes);
            assert!(facts.batch >= 1 && facts.choices >= 1);
            if let Some(prompt) = facts.prompt {
                prefix_hashes(prompt, &mut Vec::new());
                facts.text();
            }
            if facts.well_formed && bytes.len() < LONG {
                let more = set_members(bytes, &[("bootstrap_room", "1")]).expect("a place to add a member");
                assert!(scan(Route::Generate, &more).well_formed);
            }
        },
    );
}

#[test]
fn answers() {
    fuzz(
        "answers",
        |path| path.ends_with(".response.body"),
        |bytes, _| {
            read_response(bytes);
        },
    );
}

#[test]
fn meta_info() {
    fuzz(
        "meta_info",
        |path| path.contains("sglang") && path.contains("generate"),
        |bytes, _| {
            read_response(bytes);
        },
    );
}

#[test]
fn streams() {
    fuzz(
        "streams",
        |path| path.contains("stream"),
        |bytes, rng| {
            let route = route(rng);
            let body = Bytes::copy_from_slice(bytes);
            let mut at_once = StreamObserver::new(route);
            at_once.push(&body);
            let mut in_parts = StreamObserver::new(route);
            let mut rest = body;
            while !rest.is_empty() {
                // Long ones come byte by byte now and then: what is held of an event must not be read again each time.
                let most = if bytes.len() >= LONG { 4 } else { 100 };
                let part = rest.split_to((1 + rng.below(most)).min(rest.len()));
                in_parts.push(&part);
            }
            assert_eq!(at_once.finish(), in_parts.finish());
        },
    );
}

#[test]
fn load_reports() {
    fuzz(
        "load_reports",
        |path| path.contains("load") || path.contains("info"),
        |bytes, _| {
            for endpoint in [LoadEndpoint::V1Loads, LoadEndpoint::GetLoad, LoadEndpoint::VllmLoad] {
                let _ = parse_load(endpoint, bytes);
            }
        },
    );
}

#[test]
fn metrics_text() {
    fuzz(
        "metrics_text",
        |path| path.contains("metrics."),
        |bytes, _| {
            let _ = parse_load(LoadEndpoint::Metrics, bytes);
        },
    );
}

#[test]
fn server_info() {
    fuzz(
        "server_info",
        |path| path.contains("info"),
        |bytes, _| {
            let _ = parse_server_info(bytes);
        },
    );
}

#[test]
fn headers_and_errors() {
    fuzz(
        "headers",
        |_| true,
        |bytes, _| {
            let text = String::from_utf8_lossy(bytes);
            let _ = parse_orca(&text);
            let body = error_body(&text, &text, &text);
            if bytes.len() < LONG {
                serde_json::from_slice::<serde_json::Value>(&body).expect("an error body is JSON");
            }
        },
    );
}
