//! `sgl-router`: the inference router that knows what its servers really deliver.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks through its terminal"
)]
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
mod simulate;

use std::process::ExitCode;

/// The data plane allocates a little per request from several threads; mimalloc does that fastest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (command, matches) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
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
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sgl-router: {failure}");
            failure.exit_code()
        }
    }
}
