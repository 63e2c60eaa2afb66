//! The chaos test of router-proxy, for a chosen time.

use crate::command;
use anyhow::Result;
use clap::Args;
use std::path::Path;

/// Seed, time and rate.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ChaosOptions {
    /// Seed of the faults and of the load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long faults are injected.
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    seconds: u64,
    /// Requests per second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
}

/// Runs the test.
///
/// # Errors
/// A request failed that could have been retried, or something leaked.
pub(crate) fn run(root: &Path, options: ChaosOptions) -> Result<()> {
    let mut test = command::cargo(root, &["test", "-p", "router-proxy", "--test", "chaos", "--"]);
    let ChaosOptions { seed, seconds, rate } = options;
    for (name, value) in [("--seed", seed), ("--seconds", seconds), ("--rate", rate)] {
        test.args([name, &value.to_string()]);
    }
    command::run(&mut test)
}
