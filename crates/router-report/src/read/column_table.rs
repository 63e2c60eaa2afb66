//! All columns of one file, with the values that their names promise, for whoever has questions of their own.

use super::open;
use super::table::{ColumnIndex, RowReader, RowView};
use crate::problem::FileProblem;
use crate::run::{FileKind, NameTable};
use std::path::Path;

/// Columns that hold a yes or a no.
const FLAGS: [&str; 4] = ["success", "has_generated_text", "stream", "tokens_estimated"];

/// Columns of words. One whose name nobody knows is of words, too: they are never wrong.
const TEXTS: [&str; 13] = [
    "timestamp",
    "worker_url",
    "request_id",
    "selection_reason",
    "kind",
    "policy",
    "route",
    "runner_up",
    "shadow_choices",
    "outcome",
    "error",
    "req_id",
    "host",
];

/// The recorder's columns of numbers beyond those that every such file has.
const NUMBERS: [&str; 24] = [
    "seq",
    "attempt",
    "batch",
    "prompt_bytes",
    "max_output_tokens",
    "candidates",
    "cost",
    "runner_up_cost",
    "margin",
    "ties",
    "worker_share",
    "queue_length",
    "running",
    "predicted_latency",
    "predicted_ttft",
    "status",
    "prompt_tokens",
    "cached_tokens",
    "total_latency",
    "received_time",
    "dispatch_time",
    "first_byte_time",
    "finish_time",
    "server_e2e_latency",
];

/// The values of one column, by row. Absent is unknown.
#[derive(Clone, Debug)]
pub enum ColumnValues {
    /// Words, and the place of every row's among them.
    Text(NameTable, Vec<Option<u32>>),
    /// Numbers, and whether all are whole.
    Number(Vec<Option<f64>>, NumberKind),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
}

/// Whether the numbers of a column are whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberKind {
    /// All are, and written so.
    Integer,
    /// Some have a fraction.
    Real,
}

/// One file, by column.
#[derive(Clone, Debug)]
pub struct ColumnTable {
    /// Who wrote it.
    pub kind: FileKind,
    /// The columns with their names, in the file's order.
    pub columns: Vec<(String, ColumnValues)>,
    /// How many rows there are.
    pub rows: usize,
    /// What was wrong with the file, and what became of it.
    pub problems: Vec<FileProblem>,
}

/// Reads a client's or a recorder's file, column by column. Rows that are not whole are left out, and values that are
/// not what their column promises are unknown; both are told among the problems.
///
/// # Errors
/// The file cannot be read, or is something else.
pub fn read_columns(path: &Path) -> Result<ColumnTable, Box<FileProblem>> {
    let (kind, mut table) = open::open(path)?;
    let names = table.names().to_vec();
    let places: Vec<ColumnIndex> = names.iter().map(|name| table.column(name)).collect();
    let mut columns: Vec<ColumnValues> = names.iter().map(|name| ColumnValues::of(name)).collect();
    let mut rows = 0;
    while let Some(mut row) = table.next() {
        rows += 1;
        places.iter().zip(&mut columns).for_each(|(place, cells)| cells.take(&mut row, *place));
    }
    let RowReader { problems, .. } = table;
    Ok(ColumnTable {
        kind,
        columns: names.into_iter().zip(columns).collect(),
        rows,
        problems: problems.into_vec(),
    })
}

impl ColumnValues {
    fn of(name: &str) -> Self {
        if FLAGS.contains(&name) {
            return Self::Flag(Vec::new());
        }
        let number = NUMBERS.contains(&name) || open::is_fixed(name);
        if number && !TEXTS.contains(&name) {
            Self::Number(Vec::new(), NumberKind::Integer)
        } else {
            Self::Text(NameTable::default(), Vec::new())
        }
    }

    fn take(&mut self, row: &mut RowView<'_>, column: ColumnIndex) {
        match self {
            Self::Flag(values) => values.push(row.flag(column)),
            Self::Number(values, wholeness) => {
                let value = row.number(column);
                if value.is_some() && !row.text(column).iter().all(u8::is_ascii_digit) {
                    *wholeness = NumberKind::Real;
                }
                values.push(value);
            }
            Self::Text(names, places) => {
                let text = row.text(column);
                places.push((!text.is_empty()).then(|| names.place(text)));
            }
        }
    }
}
