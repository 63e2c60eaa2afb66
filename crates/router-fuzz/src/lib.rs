//! Fuzz targets: functions that take any bytes and panic when the code under test breaks a promise.
//!
//! A target is one function here. Two programs call it: cargo-fuzz (the folder `fuzz` at the repository's root, which
//! needs a nightly compiler and a C++ compiler), and the bounded run in this crate's tests, which puts a fixed number of
//! mutated inputs through it on stable Rust. No other crate uses this one.
//!
//! ```text
//! fuzz/fuzz_targets/*.rs      tests/*.rs (mutator, harness)
//!             \                  /
//!              v                v
//!             src/<target>.rs, one file per target
//!                       |
//!                       v
//!           the crate whose code is under test
//! ```
//!
//! To add a target: a module here with a `run` function, a test in `tests` that gives it a corpus, a file in
//! `fuzz/fuzz_targets`, and its `[[bin]]` in `fuzz/Cargo.toml`.

pub mod http1_connection;
pub mod json_scanner;
