//! `sgl-router simulate`: compares policies on a simulated fleet, in virtual time.

mod args;
mod autoscale;
mod autoscale_args;
mod comparison;
mod json;
mod load;
mod output;
mod page;
mod setup;
mod table;

pub use args::SimulateArgs;
pub use comparison::PolicyComparison;

use crate::error::CommandError;
use crate::terminal::say;
use indicatif::{ProgressBar, ProgressStyle};
use output::write;
use router_core::Registry;
use router_sim::{ComparisonTable, Contender, ExperimentObserver, FinishedRun};
use setup::ComparisonSetup;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(args: &SimulateArgs) -> Result<(), CommandError> {
    if !args.autoscaling.autoscale.is_empty() {
        return autoscale::run(args, |runs| progress(runs, String::new()));
    }
    let registry = Registry::builtin();
    let contenders = Contender::list(&args.policy, &registry).map_err(CommandError::flag("--policy"))?;
    let comparison = PolicyComparison::new(args)?;
    // Create the files before the runs, so that an error does not lose the results.
    let to_file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    for (flag, path) in [("--json", to_file), ("--output", args.output.as_deref())] {
        if let Some(path) = path {
            fs::File::create(path).map_err(CommandError::write(path)).map_err(CommandError::flag(flag))?;
        }
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name.as_str()).collect();
    let bar = bar(&comparison.setting, contenders.len());
    let mut terminal =
        Terminal { bar, names, first: args.seed, runs: page::KeptRuns::new(&comparison.setting) };
    // It is never cancelled: a signal ends the process.
    let table = comparison.run(&contenders, &mut terminal).unwrap_or_default();
    terminal.bar.finish_and_clear();
    print_results(&comparison, &table, terminal.runs)
}

/// Shows the progress, and keeps the runs of the first seed for the page.
struct Terminal<'a> {
    bar: ProgressBar,
    names: Vec<&'a str>,
    first: u64,
    runs: page::KeptRuns,
}

impl ExperimentObserver for Terminal<'_> {
    fn run_finished(&mut self, run: FinishedRun<'_>) {
        self.bar.set_position(run.done as u64);
        if run.seed == self.first {
            self.runs.keep(self.names[run.contender], run.outcome);
        }
    }
}

/// A progress bar on standard error, if it is a terminal.
fn bar(setting: &ComparisonSetup<'_>, contenders: usize) -> ProgressBar {
    let runs = (contenders * setting.seeds.len()) as u64;
    progress(runs, format!("{} requests each", setting.requests))
}

fn progress(runs: u64, message: String) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    // The template is a constant, so it is valid.
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} runs {elapsed} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(message);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Prints the results and writes them to the files.
fn print_results(
    comparison: &PolicyComparison<'_>,
    table: &ComparisonTable,
    runs: page::KeptRuns,
) -> Result<(), CommandError> {
    let args = comparison.setting.args;
    let text = comparison.text(table);
    if args.json.as_deref() == Some(Path::new("-")) {
        eprint!("{text}");
        say(format_args!("{}\n", comparison.json(table)?));
    } else {
        say(&text);
    }
    if let Some(path) = args.json.as_deref().filter(|path| *path != Path::new("-")) {
        write(path, &(comparison.json(table)? + "\n"))?;
    }
    if let Some(path) = &args.output {
        let page = runs.page(&comparison.setting, table);
        write(path, &page)?;
        eprintln!("{}: {:.1} MB", path.display(), page.len() as f64 / 1e6);
    }
    Ok(())
}
