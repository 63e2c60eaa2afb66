//! Recorded files as columns.

use crate::columns::{Columns, Values};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use router_report::{ColumnValues, FileKind, NumberKind};
use std::path::PathBuf;

/// The columns of a file, who wrote it, and what was wrong with it.
type Read = (Columns, &'static str, Vec<String>);

/// Reads a file that the router's recorder or `sgl-router send` wrote.
#[pyfunction]
pub(crate) fn read_columns(py: Python<'_>, path: PathBuf) -> PyResult<Read> {
    let table = py
        .detach(|| router_report::read_columns(&path))
        .map_err(|problem| PyValueError::new_err(problem.to_string()))?;
    let kind = match table.kind {
        FileKind::Client => "client",
        FileKind::Recorder => "recorder",
    };
    let columns = table.columns.into_iter().map(|(name, column)| (name, values(column))).collect();
    let problems = table.problems.iter().map(ToString::to_string).collect();
    Ok((Columns::new(columns, table.rows), kind, problems))
}

fn values(values: ColumnValues) -> Values {
    match values {
        ColumnValues::Text(names, places) => Values::Text(names.as_slice().to_vec(), places),
        ColumnValues::Flag(flags) => Values::Flag(flags),
        ColumnValues::Number(numbers, NumberKind::Real) => Values::Real(numbers),
        ColumnValues::Number(numbers, NumberKind::Integer) => {
            Values::Whole(numbers.into_iter().map(|n| n.map(|n| n as u64)).collect())
        }
    }
}
