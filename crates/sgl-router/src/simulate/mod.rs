//! `sgl-router simulate`: policies side by side on a modelled fleet, in virtual time.

mod args;
mod json;
mod load;
mod page;
mod setting;
mod study;
mod table;

pub use args::SimulateArgs;
pub use study::PolicyComparison;

use crate::cli::CommandError;
use crate::terminal::say;
use indicatif::{ProgressBar, ProgressStyle};
use router_core::Registry;
use router_sim::{ComparisonTable, Contender, ExperimentObserver, FinishedRun};
use setting::ComparisonSetup;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(args: &SimulateArgs) -> Result<(), CommandError> {
    let registry = Registry::builtin();
    let contenders = Contender::list(&args.policy, &registry)
        .map_err(|error| CommandError::Usage(format!("--policy: {error}")))?;
    let study = PolicyComparison::new(args)?;
    // Files that cannot be written are better known before the runs than after them.
    let to_file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    for (flag, path) in [("--json", to_file), ("--output", args.output.as_deref())] {
        if let Some(path) = path {
            fs::File::create(path)
                .map_err(|e| CommandError::Usage(format!("{flag}: cannot write {}: {e}", path.display())))?;
        }
    }
    let names: Vec<_> = contenders.iter().map(|contender| contender.name.as_str()).collect();
    let bar = bar(&study.setting, contenders.len());
    let mut terminal = Terminal { bar, names, first: args.seed, runs: page::KeptRuns::new(&study.setting) };
    // Nobody stops it but a signal, which ends the process.
    let table = study.run(&contenders, &mut terminal).unwrap_or_default();
    terminal.bar.finish_and_clear();
    tell(&study, &table, terminal.runs)
}

/// Shows how far it is, and keeps the runs of the first seed for the page.
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

/// A bar on standard error, where that is a terminal.
fn bar(setting: &ComparisonSetup<'_>, contenders: usize) -> ProgressBar {
    let bar = ProgressBar::new((contenders * setting.seeds.len()) as u64);
    // The template is a constant; a wrong one would show in the first run.
    if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} runs {elapsed} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(format!("{} requests each", setting.requests));
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// Prints and writes what came of it.
fn tell(
    study: &PolicyComparison<'_>,
    table: &ComparisonTable,
    runs: page::KeptRuns,
) -> Result<(), CommandError> {
    let args = study.setting.args;
    let text = study.text(table);
    if args.json.as_deref() == Some(Path::new("-")) {
        eprint!("{text}");
        say(format_args!("{}\n", study.json(table)?));
    } else {
        say(&text);
    }
    if let Some(path) = args.json.as_deref().filter(|path| *path != Path::new("-")) {
        write(path, &(study.json(table)? + "\n"))?;
    }
    if let Some(path) = &args.output {
        let page = runs.page(&study.setting, table);
        write(path, &page)?;
        eprintln!("{}: {:.1} MB", path.display(), page.len() as f64 / 1e6);
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(|e| CommandError::Runtime(format!("cannot write {}: {e}", path.display())))
}
