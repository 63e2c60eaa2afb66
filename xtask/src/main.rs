//! The project's own tasks, run as `cargo xtask TASK`. It builds nothing that users run, and no crate depends on it.
//!
//! ```text
//! main ── tidy ........................ house rules, found in the source (tidy/source, tidy/circles, tidy/layers ...)
//!      ├─ test, docs, deny ............ the one test command, the documentation, the dependencies (python_env)
//!      ├─ guard/ ...................... instruction counts of the hot pieces, beside the stored ones
//!      ├─ dist/ ....................... what is released: binary, packages, wheel, bill of materials
//!      ├─ bench/ ...................... CPU time and latency per request, beside nginx, HAProxy, Envoy and the routers on PyPI
//!      ├─ compare/ .................... policies beside those of other routers, in front of emulated workers
//!      ├─ soak, chaos, many_connections long runs, faults under load, memory per connection
//!      ├─ harness/ .................... processes, fleets, peers, statistics and pages of the four above
//!      └─ command ..................... other programs, run and checked
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints to the terminal")]

mod bench;
mod chaos;
mod command;
mod compare;
mod deny;
mod dist;
mod docs;
mod guard;
mod harness;
mod many_connections;
mod python_env;
mod soak;
mod test;
mod tidy;

use clap::{Parser, Subcommand};
use std::path::Path;
use std::process::ExitCode;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check the house rules that can be checked: sizes, layers, circles, purity, names, pages.
    Tidy,
    /// Run all checks: format, clippy, tidy, all tests, real clients.
    Test(test::TestOptions),
    /// Write the parts of the documentation that come from the code, and build the site.
    Docs,
    /// Check licences, sources and known vulnerabilities of all dependencies.
    Deny,
    /// Count the instructions of the hot pieces under callgrind, beside the stored figures.
    Guard(guard::GuardOptions),
    /// Build what is released: binary, archive, Debian package, wheel, bill of materials; check and try each.
    Dist(dist::DistOptions),
    /// Hold many idle clients and many streams at once, and print the memory that each takes.
    Crowd(many_connections::ConnectionOptions),
    /// Inject a fault every second into a fleet under load, for longer than the tests do.
    Chaos(chaos::ChaosOptions),
    /// Keep the router under load for ten minutes and check that its memory does not grow.
    Soak(soak::SoakOptions),
    /// Measure the router's CPU time and latency beside nginx, HAProxy, Envoy and the routers on PyPI, on this machine.
    #[command(alias = "bench-proxy")]
    Bench(bench::BenchOptions),
    /// Measure the policies beside those of other routers, live, in front of emulated fleets.
    ComparePeers(Box<compare::CompareOptions>),
}

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let result = match Args::parse().task {
        Task::Tidy => tidy::run(root),
        Task::Test(options) => test::run(root, options),
        Task::Docs => docs::run(root),
        Task::Deny => deny::run(root),
        Task::Guard(options) => guard::run(root, &options),
        Task::Dist(options) => dist::run(root, &options),
        Task::Crowd(options) => many_connections::run(root, &options),
        Task::Chaos(options) => chaos::run(root, options),
        Task::Soak(options) => soak::run(root, &options),
        Task::Bench(options) => bench::run(root, &options),
        Task::ComparePeers(options) => compare::run(root, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
