//! The router's CPU time per request and per streamed event, beside nginx and the routers on PyPI.
//!
//! All of it happens on 127.0.0.1, each contender in turn in every round, so that a busy machine slows them all
//! alike. It is no test: numbers of a shared machine vary, and only ratios within one run mean much.

mod backends;
mod contenders;
mod nginx;
mod requests;
mod result_table;
mod streams;
mod traffic;

use crate::command;
use crate::harness::{self, page};
use anyhow::{Context, Result};
use clap::Args;
use contenders::Site;
use result_table::Table;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to measure, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
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
    #[arg(long, value_enum, default_value_t = Part::Both)]
    part: Part,
    /// Contenders whose name begins so; all when absent. nginx is always among them, as the measure.
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
enum Part {
    /// Short requests as fast as they go.
    Requests,
    /// Streams that begin at a fixed rate.
    Streams,
    /// One after the other.
    Both,
}

impl Options {
    fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds.max(1) }
    }

    fn time(&self) -> Duration {
        Duration::from_secs(if self.smoke { 1 } else { self.seconds.max(1) })
    }
}

/// Sets the contenders up, measures them, prints the tables and writes them to docs/benchmarks.md.
///
/// # Errors
/// A tool is missing and cannot be installed, or the router or nginx cannot be started.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let site = prepare(root, options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = measure(root, options, &site) => done,
            // The guards of the processes run when the measurement is dropped.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped by the user"),
        }
    })
}

async fn measure(root: &Path, options: &Options, site: &Site) -> Result<()> {
    if options.part != Part::Streams {
        finish(root, options, requests::measure(site, options).await?)?;
    }
    if options.part != Part::Requests {
        finish(root, options, streams::measure(site, options).await?)?;
    }
    Ok(())
}

fn finish(root: &Path, options: &Options, table: Table) -> Result<()> {
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
    page::Part { page: "docs/benchmarks.md", chore: "bench-proxy", name: table.name }.write(root, &text)
}

/// Installs and builds what is needed.
fn prepare(root: &Path, options: &Options) -> Result<Site> {
    for (program, version_flag) in [("nginx", "-v"), ("wrk", "-v")] {
        harness::install(program, version_flag)?;
    }
    let target = command::target_dir(root)?;
    let binary = harness::router(root, options.binary.as_deref())?;
    let scratch = target.join("bench-proxy");
    fs::create_dir_all(&scratch).context("cannot make a scratch folder in the target folder")?;
    Ok(Site { scratch, venvs: target.join(harness::VENVS), binary, only: options.only.clone() })
}
