//! The router under an even load for minutes: its memory must stay where it is.
//!
//! The workers are emulated and the load comes from `sgl-router send`, each in a process of its own. Half of the requests
//! are streams, and no two prompts are alike, so that the prefix index fills up and has to forget.

use crate::command;
use crate::compare::fleet::Fleet;
use crate::harness::process::{Running, free_port};
use crate::harness::{self, http};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long, how much, and which router.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How long the load lasts.
    #[arg(long, default_value_t = 600)]
    secs: u64,
    /// Requests in a second, whatever becomes of those before.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// The router; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Workers that have far more room than the load takes.
const FLEET: &str = "sglang_8b@100*4";

/// The share of the time in which buffers, pools and tables reach their size.
const WARM_UP: f64 = 0.2;

/// What may be added after that: a tenth, and for small processes what an allocator keeps at its own discretion.
const GROWTH: (f64, f64) = (0.1, (8 << 20) as f64);

/// The prefix index is small enough to be full before the warm-up is over.
const INDEX_BYTES: &str = "2097152";

/// Sends the load, prints the router's memory at each minute and says whether it is flat.
///
/// # Errors
/// The memory grew, a request failed, or a process ended early.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    ensure!(options.secs >= 10 && options.rate > 0, "at least 10 s and 1 request per second are needed");
    let binary = harness::router(root, options.binary.as_deref())?;
    let scratch = command::target_dir(root)?.join("soak");
    fs::create_dir_all(&scratch)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = soak(options, &binary, &scratch) => done,
            // The guards of the processes run when the measurement is dropped.
            _ = tokio::signal::ctrl_c() => bail!("stopped by the user"),
        }
    })
}

async fn soak(options: &Options, binary: &Path, scratch: &Path) -> Result<()> {
    let fleet = Fleet::start(binary, FLEET, scratch.join("workers.log")).await?;
    let port = free_port()?;
    let mut launch = Command::new(binary);
    launch.args(["launch", "--port", &port.to_string(), "--max-tree-size", INDEX_BYTES, "--worker-urls"]);
    launch.args(fleet.ports.iter().map(|port| format!("http://127.0.0.1:{port}")));
    let mut router = Running::start(&mut launch, &scratch.join("router.log"))?;
    while !http::get(port, "/health").await.is_ok_and(|(status, _)| status.is_success()) {
        router.check().context("the router")?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = scratch.join("load.json");
    let mut sender = Running::start(&mut load(options, binary, port, &told), &scratch.join("load.log"))?;
    let samples = watch(options, &router, &mut sender).await?;
    let verdict = judge(&samples);
    let report: Value = serde_json::from_slice(&fs::read(&told).context("the load told nothing")?)?;
    println!("{} answered, {} failed", report["answered"], report["failed"]);
    ensure!(report["failed"] == 0, "requests failed; see {}", scratch.join("load.log").display());
    let (early, late) = verdict.context("too few samples")?;
    let figures =
        format!("{:.1} MiB after the warm-up, {:.1} MiB at the end", mebibytes(early), mebibytes(late));
    ensure!(is_flat(early, late), "memory grew: {figures}");
    println!("memory is flat: {figures}");
    Ok(())
}

/// The command that sends the load and tells what came of it.
fn load(options: &Options, binary: &Path, port: u16, told: &Path) -> Command {
    let mut send = Command::new(binary);
    send.args(["send", "--router-url", &format!("http://127.0.0.1:{port}")])
        .args(["--num-requests", &(options.rate * options.secs).to_string()])
        .args(["--request-rate", &options.rate.to_string(), "--arrivals", "constant"])
        .args(["--input-len", "64", "--output-len", "4", "--stream", "0.5"])
        .arg("--json")
        .arg(told)
        .arg("--output")
        .arg(told.with_extension("csv"));
    send
}

/// The router's memory at each minute, or more often in a short run, until the load has ended.
async fn watch(options: &Options, router: &Running, sender: &mut Running) -> Result<Vec<u64>> {
    let every = Duration::from_secs((options.secs / 10).clamp(1, 60));
    // What is late is late for all that follows, so the sender may take a while longer than it was meant to.
    let patience = Duration::from_secs(options.secs * 2 + 60);
    let mut samples = vec![router.memory()?];
    println!("at the start: {:.1} MiB", mebibytes(samples[0]));
    let mut ticks = tokio::time::interval(every);
    ticks.tick().await;
    let begun = tokio::time::Instant::now();
    while sender.ended()?.is_none() {
        ensure!(begun.elapsed() < patience, "the load does not end");
        ticks.tick().await;
        let now = router.memory().context("the router is gone")?;
        println!("after {:>4} s: {:.1} MiB", begun.elapsed().as_secs(), mebibytes(now));
        samples.push(now);
    }
    Ok(samples)
}

/// The most memory in the first samples after the warm-up, and the least in the last: a process that grows has less of it
/// early than late, whatever it takes and gives back between.
fn judge(samples: &[u64]) -> Option<(u64, u64)> {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few samples"
    )]
    let warm = (samples.len() as f64 * WARM_UP).ceil() as usize;
    let measured = samples.get(warm..).filter(|rest| rest.len() >= 4)?;
    let (early, late) = (&measured[..2], &measured[measured.len() - 2..]);
    Some((*early.iter().max()?, *late.iter().min()?))
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn is_flat(early: u64, late: u64) -> bool {
    late as f64 <= early as f64 + GROWTH.1.max(early as f64 * GROWTH.0)
}

#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_grows_is_told_from_one_that_has_grown() {
        let flat = |mebibytes: &[u64]| {
            let samples: Vec<u64> = mebibytes.iter().map(|m| m << 20).collect();
            judge(&samples).map(|(early, late)| is_flat(early, late))
        };
        assert_eq!(flat(&[10, 60, 70, 71, 70, 72, 71, 70, 71, 70, 72]), Some(true));
        assert_eq!(flat(&[10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110]), Some(false));
        assert_eq!(flat(&[10, 60, 70, 71, 75, 79, 83, 88, 92, 96, 100]), Some(false));
        assert_eq!(flat(&[10, 10, 10]), None);
    }
}
