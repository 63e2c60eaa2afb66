//! Reads files into runs or columns.
//!
//! The kind of a file is recognised by its header, or by the members of its first line where it is JSON lines. Invalid rows are left out and reported as problems; no content of a
//! file makes a reader fail.

mod cell;
mod client;
mod column_table;
mod json_lines;
mod open;
pub(crate) mod recorder;
pub(crate) mod rows;

pub use column_table::{ColumnTable, ColumnValues, NumberKind, read_columns};

use crate::problem::FileProblem;
use crate::run::{FileKind, ParsedFile};
use rows::RowReader;
use std::path::Path;

/// Reads one file of either kind.
pub fn read_run(path: &Path) -> ParsedFile {
    match open::open(path) {
        Ok((kind, table)) => read_table(path, kind, table),
        Err(problem) => ParsedFile { run: None, problems: vec![*problem] },
    }
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
    ParsedFile { run: (!nothing).then_some(run), problems: table.problems.into_vec() }
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
