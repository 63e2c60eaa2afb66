//! The router under a constant load for minutes: its memory must not grow.
//!
//! The workers are emulated and the load comes from `sgl-router send`, each in a process of its own. Half of the requests
//! are streams, and no two prompts are alike, so that the prefix index fills up and has to evict.

use crate::harness::fleet::Fleet;
use crate::harness::peers::add_addresses;
use crate::harness::process::{RunningProcess, free_port, mebibytes};
use crate::harness::workspace::Workspace;
use crate::harness::{self, http};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Length and rate of the load, and the router.
#[derive(Clone, Debug, Args)]
pub(crate) struct SoakOptions {
    /// Seconds of load.
    #[arg(long, default_value_t = 600)]
    secs: u64,
    /// Requests per second, sent whether or not earlier ones have ended.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// The router; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Workers with far more capacity than the load needs.
const FLEET: &str = "sglang_8b@100*4";

/// The share of the time in which buffers, pools and tables reach their size.
const WARM_UP: f64 = 0.2;

/// Growth that is allowed after the warm-up: this share of the memory, or [`MIN_GROWTH`] where that is more.
const GROWTH: f64 = 0.1;

/// What an allocator may keep for itself in a small process, in bytes.
const MIN_GROWTH: f64 = (8 << 20) as f64;

/// A prefix index small enough to be full before the warm-up is over.
const INDEX_BYTES: &str = "2097152";

/// Sends the load, prints the router's memory every minute and checks that it stays flat.
///
/// # Errors
/// The memory grew, a request failed, or a process ended early.
pub(crate) fn run(root: &Path, options: &SoakOptions) -> Result<()> {
    ensure!(options.secs >= 10 && options.rate > 0, "at least 10 s and 1 request per second are needed");
    let workspace = Workspace::prepare(root, "soak", options.binary.as_deref())?;
    harness::run(soak(options, &workspace))
}

async fn soak(options: &SoakOptions, workspace: &Workspace) -> Result<()> {
    let scratch = &workspace.scratch;
    let fleet = Fleet::start(&workspace.binary, FLEET, &scratch.join("workers.log")).await?;
    let port = free_port()?;
    let mut launch = workspace.launch();
    launch.args(["--max-tree-size", INDEX_BYTES]);
    add_addresses(&mut launch, port, &fleet.ports);
    let mut router = RunningProcess::start(&mut launch, &scratch.join("router.log"))?;
    router.wait_until(|| http::is_ok(port, "/readiness")).await.context("the router")?;
    let result = scratch.join("load.json");
    let mut send = load(options, workspace.send(port), &result);
    let mut sender = RunningProcess::start(&mut send, &scratch.join("load.log"))?;
    let samples = watch(options, &router, &mut sender).await?;
    let report: Value = serde_json::from_slice(&fs::read(&result).context("the load wrote no result")?)?;
    println!("{} answered, {} failed", report["answered"], report["failed"]);
    ensure!(report["failed"] == 0, "requests failed; see {}", scratch.join("load.log").display());
    let growth = MemoryGrowth::of(&samples).context("too few samples")?;
    let figures = format!(
        "{:.1} MiB after the warm-up, {:.1} MiB at the end",
        mebibytes(growth.early),
        mebibytes(growth.late)
    );
    ensure!(growth.is_flat(), "memory grew: {figures}");
    println!("memory is flat: {figures}");
    Ok(())
}

/// The command that sends the load and writes its result as JSON.
fn load(options: &SoakOptions, mut send: Command, result: &Path) -> Command {
    send.args(["--num-requests", &(options.rate * options.secs).to_string()])
        .args(["--request-rate", &options.rate.to_string(), "--arrivals", "constant"])
        .args(["--input-len", "64", "--output-len", "4", "--stream", "0.5"])
        .arg("--json")
        .arg(result)
        .arg("--output")
        .arg(result.with_extension("csv"));
    send
}

/// The router's memory every minute, or more often in a short run, until the load has ended.
async fn watch(
    options: &SoakOptions,
    router: &RunningProcess,
    sender: &mut RunningProcess,
) -> Result<Vec<u64>> {
    let every = Duration::from_secs((options.secs / 10).clamp(1, 60));
    // A late request delays all that follow, so the sender may take longer than planned.
    let limit = Duration::from_secs(options.secs * 2 + 60);
    let mut samples = vec![router.memory()?];
    println!("at the start: {:.1} MiB", mebibytes(samples[0]));
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    let started = tokio::time::Instant::now();
    while sender.exit_status()?.is_none() {
        ensure!(started.elapsed() < limit, "the load does not end");
        ticks.tick().await;
        let now = router.memory().context("the router is gone")?;
        println!("after {:>4} s: {:.1} MiB", started.elapsed().as_secs(), mebibytes(now));
        samples.push(now);
    }
    Ok(samples)
}

/// Memory after the warm-up and at the end, in bytes.
#[derive(Clone, Copy, Debug)]
struct MemoryGrowth {
    early: u64,
    late: u64,
}

impl MemoryGrowth {
    /// The most of the first two samples after the warm-up and the least of the last two: memory that goes up and down
    /// counts as flat, memory that grows does not. `None` where there are fewer than four samples after the warm-up.
    fn of(samples: &[u64]) -> Option<Self> {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few samples"
        )]
        let warm = (samples.len() as f64 * WARM_UP).ceil() as usize;
        let measured = samples.get(warm..).filter(|rest| rest.len() >= 4)?;
        let (early, late) = (&measured[..2], &measured[measured.len() - 2..]);
        Some(Self { early: *early.iter().max()?, late: *late.iter().min()? })
    }

    #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
    fn is_flat(self) -> bool {
        let early = self.early as f64;
        self.late as f64 <= early + MIN_GROWTH.max(early * GROWTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_memory_is_not_flat() {
        let flat = |mebibytes: &[u64]| {
            let samples: Vec<u64> = mebibytes.iter().map(|m| m << 20).collect();
            MemoryGrowth::of(&samples).map(MemoryGrowth::is_flat)
        };
        assert_eq!(flat(&[10, 60, 70, 71, 70, 72, 71, 70, 71, 70, 72]), Some(true));
        assert_eq!(flat(&[10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]), Some(false));
        assert_eq!(flat(&[10, 60, 70, 71, 75, 79, 83, 88, 92, 96, 100]), Some(false));
        assert_eq!(flat(&[10, 10, 10]), None);
    }
}
