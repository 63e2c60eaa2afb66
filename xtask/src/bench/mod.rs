//! The router's CPU time per request and per streamed event, beside nginx and the routers on PyPI.
//!
//! Everything runs on 127.0.0.1. In every round each contender is loaded in turn, so that a busy machine slows all of
//! them. It is not a test: absolute figures of a shared machine vary, and only ratios within one run mean much.

mod backends;
mod contenders;
mod nginx;
mod requests;
mod result_table;
mod streams;
mod traffic;

use crate::harness;
use crate::harness::page::{self, PagePart};
use crate::harness::workspace::{Workspace, install};
use anyhow::Result;
use clap::Args;
use result_table::ResultTable;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to measure, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchOptions {
    /// One short round of everything, to see that it works; the page is left alone.
    #[arg(long)]
    smoke: bool,
    /// Rounds; each loads every contender once, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load per contender and round.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// The part to measure.
    #[arg(long, value_enum, default_value_t = BenchPart::Both)]
    part: BenchPart,
    /// Contenders whose name begins with NAME; all when absent. nginx always runs: ratios are to it.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// Print the tables and leave docs/benchmarks.md alone.
    #[arg(long)]
    print_only: bool,
    /// The router to measure; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum BenchPart {
    /// Short requests as fast as possible.
    Requests,
    /// Streams that begin at a fixed rate.
    Streams,
    /// One after the other.
    Both,
}

impl BenchOptions {
    fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds.max(1) }
    }

    fn time(&self) -> Duration {
        Duration::from_secs(if self.smoke { 1 } else { self.seconds.max(1) })
    }
}

/// Starts the contenders, measures them, prints the tables and writes them to docs/benchmarks.md.
///
/// # Errors
/// A tool is missing and cannot be installed, or the router or nginx cannot be started.
pub(crate) fn run(root: &Path, options: &BenchOptions) -> Result<()> {
    for program in ["nginx", "wrk"] {
        install(program, "-v")?;
    }
    let workspace = Workspace::prepare(root, "bench-proxy", options.binary.as_deref())?;
    harness::run(measure(options, &workspace))
}

async fn measure(options: &BenchOptions, workspace: &Workspace) -> Result<()> {
    if options.part != BenchPart::Streams {
        show(options, &workspace.root, &requests::measure(workspace, options).await?)?;
    }
    if options.part != BenchPart::Requests {
        show(options, &workspace.root, &streams::measure(workspace, options).await?)?;
    }
    Ok(())
}

fn show(options: &BenchOptions, root: &Path, table: &ResultTable) -> Result<()> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let text = table.markdown(&format!(
        "{}; median (range) of {} rounds of {} s, contenders in turn; load average at the end {}.",
        page::setting(root)?,
        options.rounds(),
        options.time().as_secs(),
        load.split(' ').next().unwrap_or_default(),
    ));
    println!("\n{text}");
    if options.smoke || options.print_only {
        return Ok(());
    }
    PagePart { page: "docs/benchmarks.md", task: "bench-proxy", name: table.name }.write(root, &text)
}
