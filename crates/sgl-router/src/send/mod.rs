//! `sgl-router send`: sends a load to a router or an engine and writes one CSV row per request.

mod args;
mod load;
mod progress;

pub(crate) use args::SendArgs;

use crate::error::CommandError;
use crate::runtime;
use crate::terminal::say;
use progress::Progress;
use router_load::{
    ApiEndpoint, CancellationToken, LoadPlan, LoadResult, LoadTarget, LoadTest, SummaryReport, write_rows,
};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) fn run(args: &SendArgs) -> Result<(), CommandError> {
    let plan = load::plan(args)?;
    let timeout = Duration::try_from_secs_f64(args.timeout_secs).ok().filter(|t| !t.is_zero());
    let timeout = timeout.ok_or("expected a number above 0").map_err(CommandError::flag("--timeout-secs"))?;
    // Create the files before the load, so that an error does not lose the results.
    let path = args.output.clone().unwrap_or_else(default_name);
    let output = RowFile { file: create(&path, "--output")?, path };
    let json = match args.json.as_deref() {
        Some(path) if path != Path::new("-") => Some(create(path, "--json")?),
        _ => None,
    };
    runtime::block_on(args.threads, async {
        let run = send(args, plan, timeout).await?;
        finish(args, &run, output, json)
    })
}

struct RowFile {
    path: PathBuf,
    file: File,
}

fn create(path: &Path, flag: &'static str) -> Result<File, CommandError> {
    File::create(path).map_err(CommandError::write(path)).map_err(CommandError::flag(flag))
}

/// The file name of the recorded runs; the time is UTC.
fn default_name() -> PathBuf {
    format!("router_test_{}.csv", jiff::Timestamp::now().strftime("%Y%m%d_%H%M%S")).into()
}

async fn send(args: &SendArgs, plan: LoadPlan, timeout: Duration) -> Result<LoadResult, CommandError> {
    let target = target(args).await.map_err(CommandError::usage)?;
    let mut format = args.format();
    if format.model.is_none() && format.endpoint != ApiEndpoint::Generate {
        format.model = router_load::first_model(&target).await;
    }
    let load =
        LoadTest { max_concurrency: args.max_concurrency, timeout, ..LoadTest::new(target, format, plan) };
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            if runtime::asked_to_stop().await.is_ok() {
                stop.cancel();
            }
        }
    });
    let mut progress = Progress::new(load.plan.requests.len());
    let run = router_load::run(load, &stop, |summary| progress.show(summary)).await;
    progress.clear();
    Ok(run)
}

async fn target(args: &SendArgs) -> Result<LoadTarget, router_load::TargetError> {
    let mut target = LoadTarget::resolve(&args.router_url).await?;
    for header in &args.header {
        target = target.with_header(header)?;
    }
    match &args.api_key {
        Some(key) => target.with_api_key(key),
        None => Ok(target),
    }
}

/// Writes the results and prints the summary.
fn finish(
    args: &SendArgs,
    run: &LoadResult,
    output: RowFile,
    json: Option<File>,
) -> Result<(), CommandError> {
    write_rows(run, BufWriter::new(&output.file)).map_err(CommandError::write(&output.path))?;
    let summary = &run.summary;
    // With `--json -` standard output is for programs, and the table goes to standard error.
    if args.json.as_deref() == Some(Path::new("-")) {
        eprint!("{summary}");
        say(format_args!("{}\n", report(run)?));
    } else {
        say(summary);
    }
    if let Some(mut file) = json {
        let text = report(run)?;
        writeln!(file, "{text}").map_err(|e| CommandError::runtime(format_args!("--json: {e}")))?;
    }
    eprintln!("\n{} rows in {}", run.outcomes.len(), output.path.display());
    if run.outcomes.len() < summary.planned {
        eprintln!("Stopped before the end of the load.");
    }
    if summary.is_late() {
        eprintln!(
            "WARNING: requests were sent late ({:.1} ms at the 99th percentile, {:.1} ms at most), so the load was not \
             as planned.\nLatencies count from the planned arrival and include this delay. Use a lower rate or a \
             faster machine.",
            summary.lateness.at(99.0).unwrap_or_default() * 1000.0,
            summary.lateness.max().unwrap_or_default() * 1000.0,
        );
    }
    if summary.answered == 0 {
        return Err(CommandError::runtime("no request got a response"));
    }
    Ok(())
}

fn report(run: &LoadResult) -> Result<String, CommandError> {
    serde_json::to_string_pretty(&SummaryReport::of(&run.summary))
        .map_err(|e| CommandError::runtime(format_args!("--json: {e}")))
}
