//! The router's CPU time and latency per request, and its CPU time per streamed event, beside nginx, HAProxy, Envoy and
//! the routers on PyPI.
//!
//! Everything runs on 127.0.0.1. In every round each contender is loaded in turn, so that a busy machine slows all of
//! them. It is not a test: absolute figures of a shared machine vary, and only ratios within one run mean much.

mod backends;
mod cell;
mod contenders;
mod endpoint_picker;
mod grpc;
mod nginx;
mod requests;
mod result_table;
mod streams;
mod traffic;
mod wrk;

use crate::harness::page::{self, PagePart};
use crate::harness::workspace::{Workspace, install};
use crate::{command, harness};
use anyhow::Result;
use cell::BenchCell;
use clap::Args;
use contenders::{Lineup, POLICIES};
use nginx::Buffering;
use result_table::ResultTable;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
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
    /// Cells of the matrix: `all`, or parts of a name such as 100k, 32c-4w or 600b-32c-1024w; those of docs/benchmarks.md
    /// when absent. 600b, 100k and 2m are bodies, 1c, 32c and 512c connections, 4w and 1024w workers.
    #[arg(long, value_name = "CELL", num_args = 1..)]
    row: Vec<String>,
    /// Policies of this router; `all` for every built-in one.
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = POLICIES)]
    policy: Vec<String>,
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
    /// Requests as fast as possible, and at half of that rate.
    Requests,
    /// Streams that begin at a fixed rate.
    Streams,
    /// Workers that are reached by gRPC, beside HTTP.
    Grpc,
    /// Envoy with the endpoint picker, beside the router alone.
    EndpointPicker,
    /// Requests, then streams.
    Both,
}

impl BenchOptions {
    fn rounds(&self) -> u32 {
        if self.smoke { 1 } else { self.rounds.max(1) }
    }

    fn lineup<'a>(
        &'a self,
        workspace: &'a Workspace,
        workers: &'a [u16],
        buffering: Buffering,
    ) -> Lineup<'a> {
        Lineup { workspace, only: &self.only, policies: &self.policy, workers, buffering }
    }

    /// Whether the page gets the tables: all of its rows must have been measured.
    fn is_for_page(&self) -> bool {
        let whole = self.row.is_empty() && self.only.is_empty() && self.policy == POLICIES;
        whole && !self.smoke && !self.print_only
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
    let cells = cell::cells(&options.row)?;
    let workspace = Workspace::prepare(root, "bench", options.binary.as_deref())?;
    let mut options = options.clone();
    if options.policy == ["all"] {
        options.policy = all_policies(&workspace.binary)?;
    }
    harness::run(measure(&options, &workspace, &cells))
}

/// The first words of what `sgl-router policies` prints.
fn all_policies(binary: &Path) -> Result<Vec<String>> {
    let printed = command::output(Command::new(binary).arg("policies"))?;
    let first_word = |line: &str| Some(line.split_whitespace().next()?.to_owned());
    Ok(printed.lines().filter(|line| !line.starts_with(' ')).filter_map(first_word).collect())
}

async fn measure(options: &BenchOptions, workspace: &Workspace, cells: &[BenchCell]) -> Result<()> {
    if options.part == BenchPart::Grpc {
        let extent = if options.smoke { grpc::Extent::Trial } else { grpc::Extent::Full };
        let table = grpc::measure(workspace, options.rounds(), extent).await?;
        let text = show(options, &workspace.root, &table)?;
        return write(options, &workspace.root, "grpc", &text);
    }
    if options.part == BenchPart::EndpointPicker {
        let table = endpoint_picker::measure(workspace, options.rounds(), options.smoke).await?;
        let text = show(options, &workspace.root, &table)?;
        return write(options, &workspace.root, "endpoint picker", &text);
    }
    if options.part != BenchPart::Streams {
        let mut tables = Vec::new();
        for cell in cells {
            let table = requests::measure(workspace, options, *cell).await?;
            tables.push(show(options, &workspace.root, &table)?);
        }
        write(options, &workspace.root, "requests", &tables.join("\n"))?;
    }
    if options.part != BenchPart::Requests {
        let table = streams::measure(workspace, options).await?;
        let text = show(options, &workspace.root, &table)?;
        write(options, &workspace.root, "streams", &text)?;
    }
    Ok(())
}

/// Prints the table.
fn show(options: &BenchOptions, root: &Path, table: &ResultTable) -> Result<String> {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    // The requests of these parts are counted, not timed.
    let time = if matches!(options.part, BenchPart::Grpc | BenchPart::EndpointPicker) {
        String::new()
    } else {
        format!(" of {} s", options.time().as_secs())
    };
    let text = table.markdown(&format!(
        "{};\nmedian and spread of {} rounds{time}, contenders in turn; load average at the end {}.",
        page::setting(root)?,
        options.rounds(),
        load.split(' ').next().unwrap_or_default(),
    ));
    println!("\n{text}");
    Ok(text)
}

fn write(options: &BenchOptions, root: &Path, name: &str, text: &str) -> Result<()> {
    if !options.is_for_page() {
        return Ok(());
    }
    PagePart { page: "docs/benchmarks.md", task: "bench", name }.write(root, text)
}
