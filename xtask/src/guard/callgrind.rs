//! Runs pieces under callgrind and reads how many instructions each took.

use crate::command;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The function of the program that does a piece's work.
const MEASURED: &str = "instruction_pieces::measured";

/// Keeps glibc from choosing its memory functions by processor and version: the choice changes the figure of a record by
/// a sixth. Names that a glibc does not know have no effect.
const PLAIN_MEMCPY: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-AVX512F,-AVX512VL";

/// The threads whose instructions count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CountedThreads {
    /// The first one, while it is in the measured function.
    Caller,
    /// All others.
    Others,
}

/// A piece that the program offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) name: String,
    /// Calls that one run makes.
    calls: u64,
    threads: CountedThreads,
}

/// The pieces that the program offers.
///
/// # Errors
/// It cannot be started, or lists something else.
pub(super) fn pieces(program: &Path) -> Result<Vec<Piece>> {
    let listed = command::output(&mut Command::new(program))?;
    listed.lines().map(|line| piece(line).with_context(|| format!("not a piece: {line}"))).collect()
}

fn piece(line: &str) -> Option<Piece> {
    let [name, calls, threads] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
    let threads = match threads {
        "caller" => CountedThreads::Caller,
        "others" => CountedThreads::Others,
        _ => return None,
    };
    let calls = calls.parse().ok().filter(|calls| *calls > 0)?;
    Some(Piece { name: name.to_owned(), calls, threads })
}

/// Pieces that are counted by one process, because it takes callgrind a second to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    /// The pieces' names up to their last slash.
    pub(super) name: String,
    threads: CountedThreads,
    pieces: Vec<Piece>,
}

/// Puts pieces together whose names differ after their last slash only. Those with other threads stay alone.
pub(super) fn batches(pieces: Vec<Piece>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for piece in pieces {
        let name = match piece.threads {
            CountedThreads::Caller => piece.name.rsplit_once('/').map_or(&*piece.name, |(start, _)| start),
            CountedThreads::Others => &piece.name,
        };
        match batches.iter_mut().find(|batch| batch.name == name) {
            Some(batch) => batch.pieces.push(piece),
            None => {
                let (name, threads) = (name.to_owned(), piece.threads);
                batches.push(Batch { name, threads, pieces: vec![piece] });
            }
        }
    }
    batches
}

/// Instructions per call, by piece.
///
/// # Errors
/// The program fails, or callgrind writes no sum.
pub(super) fn count(program: &Path, scratch: &Path, batch: &Batch) -> Result<Vec<(String, u64)>> {
    let folder = scratch.join(batch.name.replace('/', "-"));
    // Left over from an earlier run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let mut valgrind = Command::new("valgrind");
    valgrind.env("GLIBC_TUNABLES", PLAIN_MEMCPY).args(["--tool=callgrind", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
    match batch.threads {
        // One file for each piece: out.1, out.2 and so on.
        CountedThreads::Caller => {
            valgrind.args([format!("--toggle-collect={MEASURED}"), format!("--dump-after={MEASURED}")])
        }
        CountedThreads::Others => valgrind.arg("--separate-threads=yes"),
    };
    command::output(valgrind.arg(program).args(batch.pieces.iter().map(|piece| &piece.name)))?;
    let mut counted = Vec::new();
    for (number, piece) in (1..).zip(&batch.pieces) {
        let total = match batch.threads {
            CountedThreads::Caller => total(&folder.join(format!("out.{number}")))
                .with_context(|| format!("callgrind did not find {MEASURED}"))?,
            CountedThreads::Others => total_of_other_threads(&folder)?,
        };
        ensure!(total > 0, "callgrind counted nothing of {}", piece.name);
        counted.push((piece.name.clone(), total / piece.calls));
    }
    let _ = fs::remove_dir_all(&folder);
    Ok(counted)
}

/// The sum of all threads but the first. Their files are called `out-02`, `out-03` and so on.
fn total_of_other_threads(folder: &Path) -> Result<u64> {
    let files = (2..).map(|number| folder.join(format!("out-{number:02}"))).take_while(|file| file.exists());
    files.map(|file| total(&file)).sum()
}

fn total(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    match text.lines().filter_map(|line| line.strip_prefix("totals:")).next_back() {
        Some(total) => total.trim().parse().with_context(|| format!("not a number:{total}")),
        None => bail!("no sum in {}", file.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_pieces_are_read() {
        let wanted = Piece { name: "a/8".to_owned(), calls: 20, threads: CountedThreads::Others };
        assert_eq!(piece("a/8\t20\tothers"), Some(wanted));
        assert_eq!(piece("a/8\t0\tcaller"), None, "a mean of no calls");
        assert_eq!(piece("a/8"), None);
    }

    #[test]
    fn pieces_are_batched_by_name() {
        let lines =
            ["a/b/8\t1\tcaller", "a/b/64\t1\tcaller", "a/c/8\t1\tcaller", "a/b/9\t1\tothers", "d\t1\tcaller"];
        let batches = batches(lines.into_iter().filter_map(piece).collect());
        let sizes: Vec<_> = batches.iter().map(|batch| (&*batch.name, batch.pieces.len())).collect();
        assert_eq!(sizes, [("a/b", 2), ("a/c", 1), ("a/b/9", 1), ("d", 1)]);
    }

    #[test]
    fn threads_after_the_first_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        for (name, total) in [("out", 0), ("out-01", 900), ("out-02", 30), ("out-03", 4)] {
            fs::write(folder.path().join(name), format!("events: Ir\ntotals: {total}\n")).unwrap();
        }
        assert_eq!(total_of_other_threads(folder.path()).unwrap(), 34);
    }
}
