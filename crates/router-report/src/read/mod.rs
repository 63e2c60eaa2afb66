//! Files into runs: which kind a file is, and its rows one by one.
//!
//! A file is known by its header. Rows that make no sense are left out and told of; nothing a file holds makes a
//! reader fail.

mod cell;
mod client;
mod open;
pub(crate) mod recorder;
mod sheet;
pub(crate) mod table;

pub use sheet::{Cells, Sheet, Wholeness, sheet};

use crate::problem::Problem;
use crate::run::{Kind, Reading};
use std::path::Path;
use table::Table;

/// Reads one file of either kind.
pub fn read(path: &Path) -> Reading {
    match open::open(path) {
        Ok((kind, table)) => read_table(path, kind, table),
        Err(problem) => Reading { run: None, problems: vec![*problem] },
    }
}

fn read_table(path: &Path, kind: Kind, mut table: Table) -> Reading {
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let run = match kind {
        Kind::Client => client::read(name, &mut table),
        Kind::Recorder => recorder::read(name, &mut table),
    };
    let nothing = run.requests.is_empty() && run.choices.is_empty();
    if nothing {
        table.problems.note(None, None, || "no row could be used, so there is nothing to report".to_owned());
    }
    Reading { run: (!nothing).then_some(run), problems: table.problems.into_vec() }
}

/// Opens a file that must be the recorder's.
///
/// # Errors
/// It cannot be read, or is something else.
pub(crate) fn open_recorder(path: &Path) -> Result<Table, Box<Problem>> {
    match open::open(path)? {
        (Kind::Recorder, table) => Ok(table),
        (Kind::Client, table) => {
            let message = "this is a client's file; decisions are in the recorder's".to_owned();
            Err(Box::new(table.problems.at(Some(1), None, message)))
        }
    }
}
