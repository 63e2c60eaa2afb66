//! The router's chaos test, for as long as one likes.

use crate::command;
use anyhow::Result;
use clap::Args;
use std::path::Path;

/// What to run.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Where all chance comes from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long things break.
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    seconds: u64,
    /// Requests in a second.
    #[arg(long, default_value_t = 100)]
    rate: u64,
}

/// Runs it.
///
/// # Errors
/// A request was lost that could have been saved, or something leaked.
pub(crate) fn run(root: &Path, options: Options) -> Result<()> {
    let mut test = command::cargo(root, &["test", "-p", "router-proxy", "--test", "chaos", "--"]);
    let Options { seed, seconds, rate } = options;
    for (name, value) in [("--seed", seed), ("--seconds", seconds), ("--rate", rate)] {
        test.args([name, &value.to_string()]);
    }
    command::run(&mut test)
}
