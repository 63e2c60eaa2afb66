//! Policies beside those of other routers, live: the same load through each, in front of the same emulated fleet.
//!
//! Every run has fresh workers and a fresh contender. The seed of a round fixes its loads, so all contenders get the same
//! requests at the same times. Several runs go on at a time, in lanes: an emulated engine keeps its schedule when it is
//! woken late, so a busy machine adds milliseconds to responses and changes no queue. Runs in which it added too much are
//! not used. A measurement that was interrupted is continued by the same command.

mod calibrate;
mod case;
mod contender;
mod page;
mod plan;
mod plot;
mod rows;
mod run_log;
mod summary;
mod target;
mod trial;
mod workload;

use crate::harness::page::setting;
use crate::harness::workspace::Workspace;
use crate::{command, harness};
use anyhow::{Context, Result, bail, ensure};
use case::{CASES, Case};
use clap::Args;
use contender::{CONTENDERS, Contender};
use plan::PlanExtent;
use run_log::{RunLog, RunRecord, RunSettings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use trial::Trial;

/// The scratch folder, in the target folder.
const FOLDER: &str = "compare-peers";

/// The recorded traces, by their path from the root of the repository. They are not part of it.
const TRACES: &str = "../shared/data/traces";

/// The file with the runs, in the scratch folder.
const RUN_LOG: &str = "runs.jsonl";

/// Late or failed runs of the first pass are repeated once.
const PASSES: u32 = 2;

/// What to measure, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareOptions {
    /// Cases to measure; all when absent.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    case: Vec<String>,
    /// Contenders by a prefix of their name or by their policy; all when absent.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    contender: Vec<String>,
    /// Rounds of the cases that have targets; the others have half as many.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load per run after the warm-up; a case with a slowdown has its own times.
    #[arg(long, default_value_t = 16)]
    secs: u64,
    /// Seconds of warm-up, which are not measured.
    #[arg(long, default_value_t = 8)]
    warm_up: u64,
    /// Runs at a time [default: four per core]
    #[arg(long)]
    lanes: Option<usize>,
    /// Seed of the first round's loads.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One short round of two contenders in one case, or of those named, to see that it works; the page is left alone.
    #[arg(long)]
    smoke: bool,
    /// Delete the runs of an earlier measurement instead of continuing it.
    #[arg(long)]
    fresh: bool,
    /// Measure nothing; print and write the runs of an earlier measurement.
    #[arg(long)]
    render: bool,
    /// Measure the capacity of a worker under each load, and nothing else.
    #[arg(long)]
    calibrate: bool,
    /// The page to write.
    #[arg(long, value_name = "FILE", default_value = "docs/policies/evidence.md")]
    out: String,
    /// The router to measure; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl CompareOptions {
    fn extent(&self) -> PlanExtent {
        let Self { rounds, secs, warm_up, seed, smoke, .. } = *self;
        if smoke {
            return PlanExtent { rounds: 1, secs: 4, warm_up: 1, seed };
        }
        PlanExtent { rounds: rounds.max(1), secs: secs.max(1), warm_up, seed }
    }

    /// A run takes about a tenth of a core, and more while it starts. With six per core, runs are late.
    fn lanes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.unwrap_or(4 * cores).max(1)
    }

    fn cases(&self) -> Result<Vec<&'static Case>> {
        let smoke = ["uneven-75".to_owned()];
        let wanted = if self.smoke && self.case.is_empty() { &smoke[..] } else { &self.case };
        if let Some(unknown) = wanted.iter().find(|name| !CASES.iter().any(|case| case.name == *name)) {
            let names = CASES.map(|case| case.name).join(", ");
            bail!("--case: there is no case {unknown}; the cases are {names}");
        }
        let is_wanted = |case: &&Case| wanted.is_empty() || wanted.iter().any(|name| name == case.name);
        Ok(CASES.iter().filter(is_wanted).collect())
    }

    fn contenders(&self) -> Result<Vec<&'static Contender>> {
        let smoke = ["sgl-router/marginal_cost".to_owned(), "haproxy/leastconn".to_owned()];
        let wanted = if self.smoke && self.contender.is_empty() { &smoke[..] } else { &self.contender };
        let found: Vec<_> = CONTENDERS.iter().filter(|contender| contender.is_wanted(wanted)).collect();
        let all: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
        ensure!(
            !found.is_empty(),
            "--contender: no contender has this name or policy; the contenders are {}",
            all.join(", ")
        );
        Ok(found)
    }
}

/// Measures the selected cases and contenders, prints the tables, and writes them and the plots to the page.
///
/// # Errors
/// A contender cannot be started, an earlier measurement had other settings, or a file cannot be written.
pub(crate) fn run(root: &Path, options: &CompareOptions) -> Result<()> {
    let (cases, contenders) = (options.cases()?, options.contenders()?);
    if options.render {
        return show(root, options, &RunLog::read(command::target_dir(root)?.join(FOLDER).join(RUN_LOG))?);
    }
    let workspace = Workspace::prepare(root, FOLDER, options.binary.as_deref())?;
    harness::run(measure(&workspace, options, cases, contenders))
}

async fn measure(
    workspace: &Workspace,
    options: &CompareOptions,
    cases: Vec<&'static Case>,
    contenders: Vec<&'static Contender>,
) -> Result<()> {
    if options.calibrate {
        return calibrate::run(workspace, &workspace.root.join(TRACES), &cases).await;
    }
    let extent = options.extent();
    let file = workspace.scratch.join(if options.smoke { "smoke.jsonl" } else { RUN_LOG });
    if options.fresh || options.smoke {
        run_log::remove(&file)?;
    }
    let PlanExtent { secs, warm_up, seed, .. } = extent;
    let place = setting(&workspace.root)?;
    let settings = RunSettings { secs, warm_up, lanes: options.lanes(), seed, place };
    let mut log = RunLog::open(file, settings)?;
    let contenders = install(workspace, &contenders);
    let cases = write_loads(workspace, extent, &cases)?;
    let all = plan::trials(extent, &cases, &contenders, &workspace.scratch);
    for pass in 1..=PASSES {
        let is_missing = |trial: &&Trial| !log.has(trial.case.name, &trial.contender.name(), trial.round);
        let missing: Vec<Trial> = all.iter().filter(is_missing).cloned().collect();
        if missing.is_empty() {
            break;
        }
        println!(
            "pass {pass}: {} of {} runs, {} at a time: about {:.0} minutes",
            missing.len(),
            all.len(),
            options.lanes(),
            (plan::estimate(extent, &missing, options.lanes()) as f64 / 60.0).ceil(),
        );
        log = run_all(workspace, missing, options.lanes(), log).await?;
    }
    show(&workspace.root, options, &log)
}

/// Installs the contenders and returns each with its version. One that cannot be installed is left out with a notice.
fn install(workspace: &Workspace, contenders: &[&'static Contender]) -> Vec<(&'static Contender, String)> {
    let installed = contenders.iter().filter_map(|contender| match contender.install(workspace) {
        Ok(version) => Some((*contender, version)),
        Err(error) => {
            println!("**** LEFT OUT: {}: {error:#}", contender.name());
            None
        }
    });
    installed.collect()
}

/// Writes all loads. A case whose trace is missing is left out with a notice.
fn write_loads(
    workspace: &Workspace,
    extent: PlanExtent,
    cases: &[&'static Case],
) -> Result<Vec<&'static Case>> {
    let traces = workspace.root.join(TRACES);
    let mut available = Vec::new();
    for case in cases.iter().copied() {
        let mut complete = true;
        for round in 1..=case.rounds(extent.rounds) {
            let window = extent.window(case) as f64;
            match workload::lines(case, extent.seed_of(round), window, &traces)? {
                Some(lines) => workload::write(&lines, &plan::load_file(case, round, &workspace.scratch))?,
                None => complete = false,
            }
        }
        if complete {
            available.push(case);
        } else {
            println!("**** LEFT OUT: {}: its trace is not in {}", case.name, traces.display());
        }
    }
    Ok(available)
}

/// Performs the runs, several at a time, and logs each as it ends.
async fn run_all(workspace: &Workspace, trials: Vec<Trial>, lanes: usize, log: RunLog) -> Result<RunLog> {
    let (lanes, log) = (Arc::new(Semaphore::new(lanes)), Arc::new(Mutex::new(log)));
    let (count, started) = (trials.len(), Instant::now());
    let mut running = JoinSet::new();
    for (index, trial) in trials.into_iter().enumerate() {
        let lane = Arc::clone(&lanes).acquire_owned().await?;
        let (workspace, log) = (workspace.clone(), Arc::clone(&log));
        running.spawn(async move {
            let result = trial.run(&workspace).await;
            drop(lane);
            let progress = format!("[{}/{count} {}]", index + 1, clock(started.elapsed()));
            match result {
                Ok(record) => {
                    println!("{progress} {}", line(&record));
                    log.lock().await.add(record)
                }
                // The other runs go on, and the same command repeats this one.
                Err(error) => {
                    println!(
                        "{progress} **** {} {} round {}: {error:#}",
                        trial.case.name,
                        trial.contender.name(),
                        trial.round
                    );
                    Ok(())
                }
            }
        });
        while let Some(ended) = running.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Arc::into_inner(log).map(Mutex::into_inner).context("a run still uses the log")
}

/// A run as one line.
fn line(record: &RunRecord) -> String {
    let RunRecord { case, contender, round, figures, cpu, .. } = record;
    let seconds = |figure| figures.get(figure).unwrap_or(f64::NAN);
    let core = |spent: f64| spent / cpu.wall.max(0.1) * 100.0;
    let fault = record.fault().map_or(String::new(), |fault| format!("  NOT USED: {fault}"));
    format!(
        "{case} {contender} round {round}: {} requests, {} failed, E2E {:.2} s p99 {:.2} s, TTFT p99 {:.0} ms, CPU of a \
         core: router {:.0} %, workers {:.0} %, sender {:.0} %{fault}",
        figures.requests,
        figures.failed,
        seconds(rows::LatencyFigure::Mean),
        seconds(rows::LatencyFigure::P99),
        seconds(rows::LatencyFigure::FirstP99) * 1e3,
        core(cpu.contender),
        core(cpu.workers),
        core(cpu.sender),
    )
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn show(root: &Path, options: &CompareOptions, log: &RunLog) -> Result<()> {
    println!("\n{}", page::markdown(log, "evidence"));
    if options.smoke {
        return page::draw(log, &command::target_dir(root)?.join(FOLDER).join("plots"));
    }
    page::write(log, root, &options.out)
}
