//! The command line as its users run it.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests fail by panicking, and print what they skip")]

mod cli;
mod documented_commands;
mod drop_in;
mod live_config;
mod pages;
mod report;
mod router_commands;
mod send;
mod simulate;
mod support;
mod top;
