//! Files into runs: which kind a file is, and its rows one by one.
//!
//! A file is known by its header. Rows that make no sense are left out and told of; nothing a file holds makes a
//! reader fail.

mod cell;
mod client;
mod column_table;
mod open;
pub(crate) mod recorder;
pub(crate) mod table;

pub use column_table::{ColumnTable, ColumnValues, NumberKind, read_columns};

use crate::problem::FileProblem;
use crate::run::{FileKind, ParsedFile};
use std::path::Path;
use table::RowReader;

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
    let nothing = run.requests.is_empty() && run.choices.is_empty();
    if nothing {
        table.problems.note(None, None, || "no row could be used, so there is nothing to report".to_owned());
    }
    ParsedFile { run: (!nothing).then_some(run), problems: table.problems.into_vec() }
}

/// Opens a file that must be the recorder's.
///
/// # Errors
/// It cannot be read, or is something else.
pub(crate) fn open_recorder(path: &Path) -> Result<RowReader, Box<FileProblem>> {
    match open::open(path)? {
        (FileKind::Recorder, table) => Ok(table),
        (FileKind::Client, table) => {
            let message = "this is a client's file; decisions are in the recorder's".to_owned();
            Err(Box::new(table.problems.at(Some(1), None, message)))
        }
    }
}
