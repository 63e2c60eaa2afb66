//! Reads a file into typed columns, for analyses outside this crate.

use super::open;
use super::rows::{ColumnIndex, RowReader, RowView};
use crate::problem::FileProblem;
use crate::run::{FileKind, NameTable};
use std::path::Path;

/// Columns of booleans.
const FLAGS: [&str; 4] = ["success", "has_generated_text", "stream", "tokens_estimated"];

/// Columns of text. A column with an unknown name is text, too, since every value is valid text.
const TEXTS: [&str; 14] = [
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
    "forecast_class",
];

/// The optional columns of numbers.
const NUMBERS: [&str; 28] = [
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
    "forecast_output_tokens",
    "forecast_rank",
    "predicted_cached_tokens",
    "lateness",
];

/// The columns that a file may have beside the fixed ones.
pub(super) fn optional_columns() -> impl Iterator<Item = &'static &'static str> {
    TEXTS.iter().chain(&FLAGS).chain(&NUMBERS).filter(|name| !open::is_fixed(name))
}

/// The values of one column, by row. `None` is unknown.
#[derive(Clone, Debug)]
pub enum ColumnValues {
    /// The distinct texts, and for each row the index of its text.
    Text(NameTable, Vec<Option<u32>>),
    /// Numbers, and whether all are integers.
    Number(Vec<Option<f64>>, NumberKind),
    /// Booleans.
    Flag(Vec<Option<bool>>),
}

/// Whether the numbers of a column are integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberKind {
    /// All are written as integers.
    Integer,
    /// Some are not.
    Real,
}

/// The content of one file by column.
#[derive(Clone, Debug)]
pub struct ColumnTable {
    /// Which program wrote it.
    pub kind: FileKind,
    /// The columns with their names, in the file's order.
    pub columns: Vec<(String, ColumnValues)>,
    /// How many rows there are.
    pub rows: usize,
    /// The problems of the file.
    pub problems: Vec<FileProblem>,
}

/// Reads a client's or a recorder's file into columns. Incomplete rows are left out, and values that do not have the type
/// of their column are unknown; both are listed as problems.
///
/// # Errors
/// The file cannot be read, or is another kind of file.
pub fn read_columns(path: &Path) -> Result<ColumnTable, Box<FileProblem>> {
    let (kind, mut table) = open::open(path)?;
    let names = table.names().to_vec();
    let indices: Vec<ColumnIndex> = names.iter().map(|name| table.column(name)).collect();
    let mut columns: Vec<ColumnValues> = names.iter().map(|name| ColumnValues::of(name)).collect();
    let mut rows = 0;
    while let Some(mut row) = table.next() {
        rows += 1;
        indices.iter().zip(&mut columns).for_each(|(index, values)| values.push(&mut row, *index));
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

    fn push(&mut self, row: &mut RowView<'_>, column: ColumnIndex) {
        match self {
            Self::Flag(values) => values.push(row.flag(column)),
            Self::Number(values, kind) => {
                let value = row.number(column);
                if value.is_some() && !row.text(column).iter().all(u8::is_ascii_digit) {
                    *kind = NumberKind::Real;
                }
                values.push(value);
            }
            Self::Text(names, indices) => {
                let text = row.text(column);
                indices.push((!text.is_empty()).then(|| names.index(text)));
            }
        }
    }
}
