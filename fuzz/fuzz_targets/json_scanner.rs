//! Every reader of `router-protocol` on any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| router_fuzz::json_scanner::run(input));
