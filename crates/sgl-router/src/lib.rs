//! `sgl-router`: the inference router that knows what its servers really deliver.
//!
//! The whole command line as one function, for the program `sgl-router` and for the Python package, whose console
//! script is the same; and of `launch` its parts, for routers that are started from Python. Nothing else stands on it.
#![allow(clippy::print_stderr, reason = "a command-line program talks through its terminal")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and times become f64 for tables, and back at stated ranges"
)]

mod cli;
mod demo;
mod emulate;
mod launch;
mod pages;
mod policies;
mod report;
mod runtime;
mod send;
pub mod simulate;
mod terminal;

pub use cli::CommandError;

pub use launch::{LaunchOptions, LaunchOptionsError, LogSetupError, init_logs, launch_options, start};

use std::ffi::OsString;

/// Carries out a command line, whose first word is the program's own name, and returns the exit code: 0 for success,
/// 1 for a failure, 2 for what was asked for wrongly. What there is to say goes to the terminal.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let (command, matches) = match cli::parse(args) {
        Ok(parsed) => parsed,
        Err(unread) => return unread.tell(),
    };
    let result = match command {
        cli::Command::Launch(args) => launch::run(args, &matches),
        cli::Command::Demo(args) => demo::run(&args),
        cli::Command::Emulate(args) => emulate::run(&args),
        cli::Command::Send(args) => send::run(&args),
        cli::Command::Simulate(args) => simulate::run(&args),
        cli::Command::Report(args) => report::run(&args),
        cli::Command::Policies => {
            policies::print();
            Ok(())
        }
        cli::Command::Pages(args) => {
            pages::print(&args);
            Ok(())
        }
    };
    match result {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("sgl-router: {failure}");
            failure.exit_code()
        }
    }
}
