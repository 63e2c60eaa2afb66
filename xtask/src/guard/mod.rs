//! Instruction counts of the router's hot pieces, beside those that are stored in the repository.
//!
//! `crates/router-bench` has the pieces. They run under callgrind with fixed seeds, so that a figure hardly varies:
//! valgrind shows every machine with AVX2 the same processor. A figure follows the compiler a
//! little, which is why the file names the one that it was made with.

mod callgrind;
mod figures;

use crate::command;
use anyhow::{Context, Result, anyhow, ensure};
use callgrind::Batch;
use clap::Args;
use figures::{Comparison, Figures};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The stored figures, relative to the root.
const FILE: &str = "crates/router-bench/instructions.txt";

/// The architecture that figures are stored for.
const ARCHITECTURE: &str = "x86_64";

/// What to count.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuardOptions {
    /// Store what is counted in the repository instead of comparing it.
    #[arg(long)]
    store: bool,
    /// Pieces whose name begins with NAME; all when absent.
    #[arg(long, value_name = "NAME", num_args = 1.., conflicts_with = "store")]
    only: Vec<String>,
}

/// Counts the pieces, prints them beside the stored figures, or stores them.
///
/// # Errors
/// valgrind is missing, or a piece takes clearly more instructions than stored.
pub(crate) fn run(root: &Path, options: &GuardOptions) -> Result<()> {
    ensure!(has_valgrind(), "valgrind is missing. Install valgrind.");
    let compiler = command::output(Command::new("rustc").current_dir(root).arg("--version"))?;
    let compiler = compiler.trim();
    let (program, scratch) = prepare(root)?;
    let wanted =
        |name: &str| options.only.is_empty() || options.only.iter().any(|start| name.starts_with(start));
    let pieces = callgrind::pieces(&program)?.into_iter().filter(|piece| wanted(&piece.name)).collect();
    let now = Figures::new(compiler, count_all(&program, &scratch, &callgrind::batches(pieces))?);
    let file = root.join(FILE);
    if options.store {
        println!("{now}");
        return fs::write(&file, now.to_string()).with_context(|| format!("cannot write {FILE}"));
    }
    let stored = fs::read_to_string(&file).with_context(|| format!("cannot read {FILE}"))?;
    let stored: Figures = stored.parse().with_context(|| format!("cannot read {FILE}"))?;
    let comparison = Comparison::new(&stored.only(wanted), &now);
    println!("{comparison}");
    ensure!(
        comparison.holds(),
        "the figures differ from {FILE} as marked above. Find out why; where it is wanted, run `cargo xtask guard --store`"
    );
    Ok(())
}

/// The comparison as a stage of the tests: skipped, with a notice, where nothing can be compared.
///
/// # Errors
/// As [`run`].
pub(crate) fn test(root: &Path) -> Result<()> {
    if std::env::consts::ARCH != ARCHITECTURE {
        println!("**** SKIPPED: the stored figures are for {ARCHITECTURE}, so no instructions were counted.");
        return Ok(());
    }
    if !has_valgrind() {
        println!("**** SKIPPED: valgrind is missing, so no instructions were counted. Install valgrind.");
        return Ok(());
    }
    run(root, &GuardOptions { store: false, only: Vec::new() })
}

fn has_valgrind() -> bool {
    command::exists("valgrind", "--version")
}

/// Builds the program, and makes a folder for what callgrind writes.
fn prepare(root: &Path) -> Result<(PathBuf, PathBuf)> {
    let build = ["build", "--profile", "guard", "--package", "router-bench", "--bin", "instruction-pieces"];
    command::run(&mut command::cargo(root, &build))?;
    let target = command::target_dir(root)?;
    let scratch = target.join("callgrind");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    Ok((target.join("guard").join("instruction-pieces"), scratch))
}

/// Counts on all cores: instructions do not depend on what else runs.
fn count_all(program: &Path, scratch: &Path, batches: &[Batch]) -> Result<Vec<(String, u64)>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(String, u64)>> {
        let mut counted = Vec::new();
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let figures = callgrind::count(program, scratch, batch);
            counted.extend(figures.with_context(|| format!("cannot count {}", batch.name))?);
        }
        Ok(counted)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut counted = Vec::new();
        for thread in threads {
            counted.extend(thread.join().map_err(|_| anyhow!("a counting thread panicked"))??);
        }
        Ok(counted)
    })
}
