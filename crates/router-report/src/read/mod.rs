//! Reads files into runs or columns.
//!
//! The kind of a file is recognised by its header, or by the members of its first line where it is JSON lines. Invalid
//! rows are left out and reported as problems; no content of a file makes a reader fail.

mod candidates;
mod cell;
mod client;
mod column_table;
mod folder;
mod json_lines;
mod open;
pub(crate) mod recorder;
mod request_id;
pub(crate) mod rows;
mod simulated;

pub use column_table::{ColumnTable, ColumnValues, NumberKind, read_columns};

use crate::problem::FileProblem;
use crate::run::{FileKind, ParsedFile};
use open::OpenedFile;
use rows::RowReader;
use std::path::{Path, PathBuf};

/// What one file has.
enum FileContent {
    Run(Box<ParsedFile>),
    Candidates(Box<RowReader>),
}

/// Reads one file.
pub fn read_run(path: &Path) -> ParsedFile {
    match read_file(path) {
        FileContent::Run(file) => *file,
        FileContent::Candidates(_) => failed(*open::candidates_alone(path)),
    }
}

/// Reads files and folders of files. The files of a recording that was rotated become one run, and a file of candidates
/// belongs to the recording before it that has its decisions.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let row = "req_0_1764477783123,True,http://w1,0.0,1.5\n";
/// std::fs::write(dir.path().join("a.csv"), format!("req_id,success,host,arrival_time,finish_time\n{row}"))?;
/// let files = router_report::read_runs(&[dir.path().to_owned()]);
/// assert_eq!(files[0].run.as_ref().map(|run| run.requests.len()), Some(1));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_runs(paths: &[PathBuf]) -> Vec<ParsedFile> {
    let mut all: Vec<ParsedFile> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            add_file(&mut all, read_file(path));
            continue;
        }
        match folder::files(path) {
            Ok(files) => {
                let mut inside: Vec<ParsedFile> = Vec::new();
                files.iter().for_each(|file| add_file(&mut inside, read_file(file)));
                folder::name_runs(path, &mut inside);
                all.extend(inside);
            }
            Err(problem) => all.push(failed(*problem)),
        }
    }
    all
}

fn failed(problem: FileProblem) -> ParsedFile {
    ParsedFile { run: None, simulation: None, problems: vec![problem] }
}

fn read_file(path: &Path) -> FileContent {
    match open::open_any(path) {
        Ok(OpenedFile::Rows(kind, table)) => FileContent::Run(Box::new(read_table(path, kind, table))),
        Ok(OpenedFile::Candidates(table)) => FileContent::Candidates(Box::new(table)),
        Ok(OpenedFile::Simulation(simulation)) => FileContent::Run(Box::new(ParsedFile {
            run: None,
            simulation: Some(*simulation),
            problems: Vec::new(),
        })),
        Err(problem) => FileContent::Run(Box::new(failed(*problem))),
    }
}

/// Adds a file to those before it, or to the run that it belongs to.
fn add_file(all: &mut Vec<ParsedFile>, content: FileContent) {
    match content {
        FileContent::Candidates(table) => add_candidates(all, *table),
        FileContent::Run(mut file) => {
            let part = file.run.take();
            let before = all.iter_mut().rev().find_map(|before| {
                let run = before.run.as_ref()?;
                run.continues_in(part.as_ref()?).then_some(before)
            });
            if let Some((whole, part)) = before.and_then(|before| before.run.as_mut()).zip(part.clone()) {
                whole.append(part);
            } else {
                file.run = part;
            }
            all.push(*file);
        }
    }
}

/// Adds what shadow policies said of candidates to the recording that has the decisions, the latest first.
fn add_candidates(all: &mut Vec<ParsedFile>, mut table: RowReader) {
    let mut runs: Vec<_> = all.iter_mut().rev().filter_map(|file| file.run.as_mut()).collect();
    candidates::rate(&mut runs, &mut table);
    all.push(ParsedFile { run: None, simulation: None, problems: table.problems.into_vec() });
}

fn read_table(path: &Path, kind: FileKind, mut table: RowReader) -> ParsedFile {
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let run = match kind {
        FileKind::Client => client::read(name, &mut table),
        FileKind::Recorder => recorder::read(name, &mut table),
    };
    let nothing = run.requests.is_empty() && run.decisions.is_empty();
    if nothing {
        table.problems.add(None, None, || "no row could be used, so there is nothing to report".to_owned());
    }
    ParsedFile { run: (!nothing).then_some(run), simulation: None, problems: table.problems.into_vec() }
}

/// Opens a recorder's file.
///
/// # Errors
/// It cannot be read, or is another kind of file.
pub(crate) fn open_recorder(path: &Path) -> Result<RowReader, Box<FileProblem>> {
    match open::open(path)? {
        (FileKind::Recorder, table) => Ok(table),
        (FileKind::Client, table) => {
            let message = "this is a client's file; decisions are in the recorder's".to_owned();
            Err(Box::new(table.problems.at(Some(1), None, message)))
        }
    }
}
