//! The balancer and all policies from outside.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking, and print what they skip")]

mod balancer;
mod classic;
mod common;
mod laws;
mod lineup;
mod overload;
mod registry;
