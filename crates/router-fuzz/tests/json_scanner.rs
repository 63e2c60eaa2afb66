//! The bounded run of the target `json_scanner`: a million mutated messages, and long ones made of repeated pieces. No
//! reader panics, none needs more than linear time or memory.

#![allow(clippy::expect_used, reason = "a missing capture must fail the test")]

mod support;

use std::path::Path;

use router_fuzz::json_scanner::{self, LONG, Reader};
use support::{Mutator, run_long, run_mutated};

/// Mutated messages for each reader.
const CASES: usize = 130_000;

/// Mutated messages for the whole target.
const TARGET_CASES: usize = 10_000;

/// Long messages for each reader.
const LONG_CASES: usize = 60;

/// Pieces of the languages that the readers know.
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

/// The captured bodies whose path satisfies `of`.
fn corpus(of: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../router-protocol/tests/data");
    let mut folders = vec![data];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of captures") {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() { folders.push(path) } else { paths.push(path) }
        }
    }
    paths.sort();
    let mut bodies = Vec::new();
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        let is_request = name.ends_with(".request");
        if of(&name) && (is_request || name.ends_with(".body")) {
            let bytes = std::fs::read(&path).expect("a capture");
            let head = if is_request { bytes.windows(4).position(|w| w == b"\r\n\r\n") } else { None };
            bodies.push(bytes[head.map_or(0, |at| at + 4)..].to_vec());
        }
    }
    bodies
}

fn check(name: &str, of: impl Fn(&str) -> bool, read: Reader) {
    let mut mutator = Mutator::new(name, corpus(of), &WORDS);
    run_mutated(name, &mut mutator, CASES, read);
    run_long(name, &mut mutator, LONG_CASES, LONG, read);
}

#[test]
fn all_readers() {
    let mut mutator = Mutator::new("all_readers", corpus(|_| true), &WORDS);
    run_mutated("all_readers", &mut mutator, TARGET_CASES, |choice, bytes| {
        json_scanner::run(&[&[choice], bytes].concat());
    });
}

#[test]
fn requests() {
    check("requests", |path| path.ends_with(".request"), json_scanner::read_request);
}

#[test]
fn responses() {
    check("responses", |path| path.ends_with(".response.body"), json_scanner::read_whole_response);
}

#[test]
fn meta_info() {
    let of = |path: &str| path.contains("sglang") && path.contains("generate");
    check("meta_info", of, json_scanner::read_whole_response);
}

#[test]
fn streams() {
    check("streams", |path| path.contains("stream"), json_scanner::read_stream);
}

#[test]
fn load_reports() {
    let of = |path: &str| path.contains("load") || path.contains("info");
    check("load_reports", of, json_scanner::read_load);
}

#[test]
fn metrics_text() {
    check("metrics_text", |path| path.contains("metrics."), json_scanner::read_load);
}

#[test]
fn server_info() {
    check("server_info", |path| path.contains("info"), json_scanner::read_server_info);
}

#[test]
fn headers_and_errors() {
    check("headers", |_| true, json_scanner::read_headers);
}
