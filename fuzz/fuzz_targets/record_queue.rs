//! The recorder's queue beside a model, on any sequence of operations.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| router_fuzz::record_queue::run(input));
