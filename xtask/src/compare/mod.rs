//! Policies beside those of other routers, live: the same load through each, in front of the same emulated fleet.
//!
//! Every run has fresh workers and a fresh contender, so nothing is left of the run before. Loads are fixed by the
//! round's seed, so everybody gets the same requests at the same times. Runs go on side by side in lanes: an emulated
//! engine keeps its schedule however late it is woken, so a busy machine adds milliseconds to answers and changes no
//! queue; runs in which it added too much are marked and not used.

mod calibrate;
mod case;
mod contender;
pub(crate) mod fleet;
mod haproxy;
mod page;
mod plan;
mod plot;
mod rows;
mod run_log;
mod summary;
mod target;
mod trial;
mod workload;
mod workspace;

use crate::harness;
use anyhow::{Context, Result, ensure};
use case::{CASES, Case};
use clap::Args;
use contender::{CONTENDERS, Contender};
use plan::Extent;
use run_log::{Book, Record, Setting};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use trial::Trial;
use workspace::Site;

/// The runs, in the folder of the scratch files.
const BOOK: &str = "runs.jsonl";

/// Runs that were late or failed in the first pass are tried once more.
const PASSES: u32 = 2;

/// What to measure, and for how long.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Cases to measure; all when absent.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    case: Vec<String>,
    /// Contenders whose name begins so or whose policy is called so; all when absent.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    contender: Vec<String>,
    /// Rounds of the cases that a target is set for; the others have half as many.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load per run, without the warm-up; a change in mid-run has its own time.
    #[arg(long, default_value_t = 16)]
    secs: u64,
    /// Seconds of load before that, which do not count.
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
    /// Forget the runs that are there instead of going on with them.
    #[arg(long)]
    fresh: bool,
    /// Measure nothing; print and write the runs that are there.
    #[arg(long)]
    render: bool,
    /// Measure what a worker can do under each load, and nothing else.
    #[arg(long)]
    calibrate: bool,
    /// The page to write.
    #[arg(long, value_name = "FILE", default_value = "docs/policies/evidence.md")]
    out: String,
    /// The router to measure; built in release mode when absent.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Options {
    fn extent(&self) -> Extent {
        let Self { rounds, secs, warm_up, seed, smoke, .. } = *self;
        if smoke {
            return Extent { rounds: 1, secs: 4, warm_up: 1, seed };
        }
        Extent { rounds: rounds.max(1), secs: secs.max(1), warm_up, seed }
    }

    /// A run takes a tenth of a core or a little more, and more than that while it starts; with six per core, runs are late.
    fn lanes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.unwrap_or(4 * cores).max(1)
    }

    fn cases(&self) -> Result<Vec<&'static Case>> {
        let unknown = self.case.iter().find(|name| !CASES.iter().any(|case| case.name == *name));
        ensure!(
            unknown.is_none(),
            "--case: no case is called {}; there are {}",
            unknown.map_or("", |n| n),
            names()
        );
        let few = self.smoke && self.case.is_empty();
        let wanted = |case: &&Case| {
            if few {
                case.name == "uneven-75"
            } else {
                self.case.is_empty() || self.case.iter().any(|n| n == case.name)
            }
        };
        Ok(CASES.iter().filter(wanted).collect())
    }

    fn contenders(&self) -> Result<Vec<&'static Contender>> {
        let few = ["sgl-router/marginal_cost".to_owned(), "haproxy/leastconn".to_owned()];
        let wanted = if self.smoke && self.contender.is_empty() { &few[..] } else { &self.contender };
        let found: Vec<_> = CONTENDERS.iter().filter(|contender| contender.is_wanted(wanted)).collect();
        let all: Vec<String> = CONTENDERS.iter().map(Contender::name).collect();
        ensure!(!found.is_empty(), "--contender: nobody is called so; there are {}", all.join(", "));
        Ok(found)
    }
}

fn names() -> String {
    CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
}

/// Measures what is asked for, prints the tables, and writes them and the plots to the page.
///
/// # Errors
/// A contender cannot be started, the runs that are there are of another setting, or a file cannot be written.
pub(crate) fn run(root: &Path, options: &Options) -> Result<()> {
    let (cases, contenders) = (options.cases()?, options.contenders()?);
    if options.render {
        let target = crate::command::target_dir(root)?;
        return show(root, options, &Book::read(target.join(workspace::FOLDER).join(BOOK))?);
    }
    let site = Site::prepare(root, options.binary.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            done = measure(&site, options, (&cases, contenders)) => done,
            // The guards of the processes run when the measurement is dropped.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("stopped by the user; the same command goes on"),
        }
    })
}

async fn measure(
    site: &Site,
    options: &Options,
    (cases, contenders): (&[&'static Case], Vec<&'static Contender>),
) -> Result<()> {
    if options.calibrate {
        return calibrate::run(site, cases).await;
    }
    let extent = options.extent();
    let file = site.scratch.join(if options.smoke { "smoke.jsonl" } else { BOOK });
    if options.fresh || options.smoke {
        run_log::forget(&file)?;
    }
    let Extent { secs, warm_up, seed, .. } = extent;
    let setting =
        Setting { secs, warm_up, lanes: options.lanes(), seed, place: harness::page::setting(&site.root)? };
    let mut book = Book::open(file, setting)?;
    let contenders = site.install(contenders);
    let cases = write_loads(site, extent, cases)?;
    let all = plan::trials(extent, &cases, &contenders, &site.scratch);
    for pass in 1..=PASSES {
        let is_left = |trial: &&Trial| !book.has(trial.case.name, &trial.contender.name(), trial.round);
        let left: Vec<Trial> = all.iter().filter(is_left).cloned().collect();
        if left.is_empty() {
            break;
        }
        println!(
            "pass {pass}: {} of {} runs, {} at a time: about {:.0} minutes",
            left.len(),
            all.len(),
            options.lanes(),
            (plan::estimate(extent, &left, options.lanes()) as f64 / 60.0).ceil(),
        );
        book = go(site, left, options.lanes(), book).await?;
    }
    show(&site.root, options, &book)
}

/// Writes every load; a case whose trace is not there is left out, loudly.
fn write_loads(site: &Site, extent: Extent, cases: &[&'static Case]) -> Result<Vec<&'static Case>> {
    let mut there = Vec::new();
    for case in cases.iter().copied() {
        let mut complete = true;
        for round in 1..=case.rounds(extent.rounds) {
            let window = extent.window(case) as f64;
            match workload::lines(case, extent.seed_of(round), window, &site.traces)? {
                Some(lines) => workload::write(&lines, &plan::load_file(case, round, &site.scratch))?,
                None => complete = false,
            }
        }
        if complete {
            there.push(case);
        } else {
            println!("**** LEFT OUT: {}: its trace is not in {}", case.name, site.traces.display());
        }
    }
    Ok(there)
}

/// Does every run, several at a time, and notes each as it ends.
async fn go(site: &Site, trials: Vec<Trial>, lanes: usize, book: Book) -> Result<Book> {
    let (lanes, book) = (Arc::new(Semaphore::new(lanes)), Arc::new(Mutex::new(book)));
    let (count, begun) = (trials.len(), Instant::now());
    let mut running = JoinSet::new();
    for (index, trial) in trials.into_iter().enumerate() {
        let lane = Arc::clone(&lanes).acquire_owned().await?;
        let (site, book) = (site.clone(), Arc::clone(&book));
        running.spawn(async move {
            let done = trial.run(&site).await;
            drop(lane);
            let place = format!("[{}/{count} {}]", index + 1, clock(begun.elapsed()));
            match done {
                Ok(record) => {
                    println!("{place} {}", line(&record));
                    book.lock().await.add(record)
                }
                // The others are worth having, and the same command tries this one again.
                Err(error) => {
                    println!(
                        "{place} **** {} {} round {}: {error:#}",
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
    Arc::into_inner(book).map(Mutex::into_inner).context("a run still holds the book")
}

/// One run on one line.
fn line(record: &Record) -> String {
    let Record { case, contender, round, figures, cpu, .. } = record;
    let seconds = |figure| figures.get(figure).unwrap_or(f64::NAN);
    let core = |spent: f64| spent / cpu.wall.max(0.1) * 100.0;
    let fault = record.fault().map_or(String::new(), |fault| format!("  NOT USED: {fault}"));
    format!(
        "{case} {contender} round {round}: {} requests, {} failed, E2E {:.2} s p99 {:.2} s, TTFT p99 {:.0} ms, CPU of a \
         core: router {:.0} %, workers {:.0} %, sender {:.0} %{fault}",
        figures.requests,
        figures.failed,
        seconds(rows::Figure::Mean),
        seconds(rows::Figure::P99),
        seconds(rows::Figure::FirstP99) * 1e3,
        core(cpu.contender),
        core(cpu.workers),
        core(cpu.sender),
    )
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn show(root: &Path, options: &Options, book: &Book) -> Result<()> {
    println!("\n{}", page::markdown(book, "evidence"));
    if options.smoke {
        return page::draw(book, &crate::command::target_dir(root)?.join(workspace::FOLDER).join("plots"));
    }
    page::write(book, root, &options.out)
}
