//! The hot pieces of the router, set up once for two kinds of measurement: nanoseconds, by the criterion benches of
//! this crate, and instructions, by the program `instruction-pieces`, which `cargo xtask guard` runs under callgrind.
//!
//! Everything here follows from fixed seeds, so that two runs do the same work.
//!
//! ```text
//! pieces ──▶ decision_world, long_prompts, recorded_requests ──▶ messages
//! ```
#![allow(clippy::expect_used, reason = "a bench fails by panicking")]

pub mod decision_world;
pub mod long_prompts;
pub mod messages;
pub mod pieces;
pub mod recorded_requests;
