//! The HTTP/1.1 client for workers, on any response.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| router_fuzz::http1_connection::run(input));
