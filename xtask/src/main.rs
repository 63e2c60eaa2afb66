//! The project's chores, run as `cargo xtask CHORE`: house rules, the one test command, benches beside the peers.
//!
//! It builds nothing that users run and no crate depends on it. It is no place for code that a crate needs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks on the terminal")]

mod bench;
mod chaos;
mod command;
mod compare;
mod deny;
mod docs;
mod harness;
mod many_connections;
mod soak;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// The project's chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check the house rules that can be checked: sizes, layers, purity, names, pages.
    Tidy,
    /// Run every check there is: format, clippy, tidy, all tests, real clients.
    Test(test::Options),
    /// Write the parts of the documentation that come from the code, and build the site.
    Docs,
    /// Check licences, sources and known vulnerabilities of all dependencies.
    Deny,
    /// Hold many idle clients and many streams at once, and tell what they cost in memory.
    Crowd(many_connections::Options),
    /// Break something in a fleet under load every second, for longer than the tests do.
    Chaos(chaos::Options),
    /// Keep the router under load for ten minutes, and see whether its memory stays where it is.
    Soak(soak::Options),
    /// Measure the router's CPU time beside nginx and the routers on PyPI, on this machine.
    BenchProxy(bench::Options),
    /// Measure the policies beside those of other routers, live, in front of emulated fleets.
    ComparePeers(Box<compare::Options>),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let done = match Args::parse().chore {
        Chore::Tidy => tidy::run(root),
        Chore::Test(options) => test::run(root, options),
        Chore::Docs => docs::run(root),
        Chore::Deny => deny::run(root),
        Chore::Crowd(options) => many_connections::run(root, &options),
        Chore::Chaos(options) => chaos::run(root, options),
        Chore::Soak(options) => soak::run(root, &options),
        Chore::BenchProxy(options) => bench::run(root, &options),
        Chore::ComparePeers(options) => compare::run(root, &options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
