//! Recorded files as columns.

use crate::columns::{Columns, PythonColumn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use router_report::{ColumnValues, FileKind, NumberKind};
use std::path::PathBuf;

/// The columns of a file, the program that wrote it, and its problems.
type FileColumns = (Columns, &'static str, Vec<String>);

/// Reads a file that the router's recorder or `sgl-router send` wrote.
#[pyfunction]
pub(crate) fn read_columns(py: Python<'_>, path: PathBuf) -> PyResult<FileColumns> {
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

fn values(values: ColumnValues) -> PythonColumn {
    match values {
        ColumnValues::Text(names, places) => PythonColumn::Text(names.as_slice().to_vec(), places),
        ColumnValues::Flag(flags) => PythonColumn::Flag(flags),
        ColumnValues::Number(numbers, NumberKind::Real) => PythonColumn::Real(numbers),
        ColumnValues::Number(numbers, NumberKind::Integer) => {
            PythonColumn::Whole(numbers.into_iter().map(|n| n.map(|n| n as u64)).collect())
        }
    }
}
