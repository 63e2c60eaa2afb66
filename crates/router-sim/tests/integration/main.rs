//! Whole installations in virtual time, beside what theory and recordings say of them.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking, and print what they skip"
)]

mod autoscaling;
mod clients;
mod laws;
mod marginal_cost;
mod oracle;
mod replay;
mod scale;
mod unknown_workers;
