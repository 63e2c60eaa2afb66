//! `sgl-router report`: a page of charts about runs, and the audit of a recording.

use crate::error::CommandError;
use crate::terminal::{COLUMNS, say, wrap};
use clap::Args;
use router_core::policy::MarginalUtilityConfig;
use router_core::{PolicyOptions, read_options};
use router_report::{Audit, RunReport, audit, read_runs};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// The page where none is named.
const DEFAULT_PAGE: &str = "report.html";

/// How many findings of an audit are printed; the page lists more.
const MAX_PRINTED: usize = 20;

/// The flags of `report`.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Files of `send`, of the recorder (CSV or JSON lines) or of `simulate --json`, or folders of them; the other runs are
    /// compared with the first
    #[arg(value_name = "FILES", required_unless_present = "policy_audit")]
    files: Vec<PathBuf>,

    /// The page to write [default: report.html; none for an audit without FILES]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace the page if there is one
    #[arg(long)]
    force: bool,

    /// Recompute every decision by gradients in this recording and list the rows that do not match. If a recording has
    /// several files, give the oldest first
    #[arg(long, value_name = "FILE", num_args = 1..)]
    policy_audit: Vec<PathBuf>,

    /// An option that marginal_utility ran with, for the audit; repeatable
    #[arg(long = "policy-option", value_name = "NAME=VALUE", requires = "policy_audit", value_parser = policy_option)]
    policy_options: Vec<(String, serde_json::Value)>,
}

pub(crate) fn run(args: &ReportArgs) -> Result<(), CommandError> {
    let audit = if args.policy_audit.is_empty() { None } else { Some(audited(args)?) };
    let output = match &args.output {
        Some(output) => Some(output.as_path()),
        // The audit is printed; a page about no run would replace one that somebody still wants.
        None if args.files.is_empty() => None,
        None => Some(Path::new(DEFAULT_PAGE)),
    };
    // Before files are read, which may take long.
    if let Some(output) = output.filter(|output| !args.force && output.exists()) {
        return Err(kept(output));
    }
    let report = RunReport::of(read_runs(&args.files), audit);
    for problem in &report.problems {
        eprintln!("{problem}");
    }
    if let Some(audit) = &report.audit {
        print_audit(audit);
    }
    if report.is_empty() {
        return Err(CommandError::runtime("no file could be used, so there is nothing to report"));
    }
    let Some(output) = output else { return Ok(()) };
    let page = report.page();
    write_page(output, &page, args.force)?;
    say(format_args!("{}\n", outline(&report, output, page.len())));
    print_findings(&report);
    Ok(())
}

/// The error of a page that is not replaced.
fn kept(output: &Path) -> CommandError {
    let file = output.display();
    CommandError::flag("--output")(format!("{file} exists; name another file, or replace it with --force"))
}

/// Writes the page. Without `--force` a file that another program has made meanwhile stays, too.
fn write_page(output: &Path, page: &str, force: bool) -> Result<(), CommandError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    if !force {
        options.create_new(true);
    }
    let write = || -> io::Result<()> { options.open(output)?.write_all(page.as_bytes()) };
    write().map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => kept(output),
        _ => CommandError::write(output)(error),
    })
}

/// The findings in words, the tables, and what makes runs not comparable.
fn print_findings(report: &RunReport) {
    for sentence in &report.words {
        say(wrap(sentence, COLUMNS, ""));
    }
    say(format_args!("\n{}", report.tables()));
    for comparison in &report.comparisons {
        for warning in &comparison.warnings {
            eprint!(
                "{}",
                wrap(&format!("warning: {}", comparison.titled(&report.runs, warning)), COLUMNS, "")
            );
        }
    }
}

fn audited(args: &ReportArgs) -> Result<Audit, CommandError> {
    let params = PolicyOptions::from_iter(args.policy_options.iter().cloned());
    let config: MarginalUtilityConfig =
        read_options("marginal_utility", &params).map_err(CommandError::flag("--policy-option"))?;
    audit(&args.policy_audit, config).map_err(CommandError::flag("--policy-option"))
}

fn print_audit(audit: &Audit) {
    for finding in audit.findings.iter().take(MAX_PRINTED) {
        say(format_args!("{finding}\n"));
    }
    if audit.wrong > MAX_PRINTED as u64 {
        say(format_args!("... and {} more rows; the page lists them\n", audit.wrong - MAX_PRINTED as u64));
    }
    say(format_args!("audit: {} of {} decisions by gradients match\n", audit.matching, audit.by_gradients));
    for (name, n) in audit.counts.iter().filter(|(_, n)| *n > 0) {
        say(format_args!("audit: {n} rows with {name}\n"));
    }
    if audit.unknown > 0 {
        say(format_args!(
            "audit: {} depend on completions before the first file and cannot be checked\n",
            audit.unknown
        ));
    }
    if audit.lost > 0 {
        say(format_args!("audit: {} rows are missing from the recording\n", audit.lost));
    }
}

/// `report.html: 3 runs, 600 requests, 0.3 MB`.
fn outline(report: &RunReport, output: &Path, bytes: usize) -> String {
    let requests: u64 = report.runs.iter().map(|run| run.summary.requests).sum();
    let plural = |n: u64, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let what = match &report.simulation {
        Some(simulation) => format!("a simulation of {} policies", simulation.policies.len()),
        None => format!("{}, {}", plural(report.runs.len() as u64, "run"), plural(requests, "request")),
    };
    format!("{}: {what}, {:.1} MB", output.display(), bytes as f64 / 1e6)
}

/// Parses NAME=VALUE as `launch` does: a value that is valid JSON is read as JSON, any other as a string.
fn policy_option(text: &str) -> Result<(String, serde_json::Value), &'static str> {
    let (name, value) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}
