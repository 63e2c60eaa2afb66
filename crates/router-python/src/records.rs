//! Recorded files as columns.

use crate::columns::{Columns, Values};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use router_report::{Cells, Kind, Wholeness, sheet};
use std::path::PathBuf;

/// The columns of a file, who wrote it, and what was wrong with it.
type Read = (Columns, &'static str, Vec<String>);

/// Reads a file that the router's recorder or `sgl-router send` wrote.
#[pyfunction]
pub(crate) fn read_columns(py: Python<'_>, path: PathBuf) -> PyResult<Read> {
    let sheet = py.detach(|| sheet(&path)).map_err(|problem| PyValueError::new_err(problem.to_string()))?;
    let kind = match sheet.kind {
        Kind::Client => "client",
        Kind::Recorder => "recorder",
    };
    let columns = sheet.columns.into_iter().map(|(name, cells)| (name, values(cells))).collect();
    let problems = sheet.problems.iter().map(ToString::to_string).collect();
    Ok((Columns::new(columns, sheet.rows), kind, problems))
}

fn values(cells: Cells) -> Values {
    match cells {
        Cells::Text(names, places) => Values::Text(names.as_slice().to_vec(), places),
        Cells::Flag(flags) => Values::Flag(flags),
        Cells::Number(numbers, Wholeness::Real) => Values::Real(numbers),
        Cells::Number(numbers, Wholeness::Whole) => {
            Values::Whole(numbers.into_iter().map(|n| n.map(|n| n as u64)).collect())
        }
    }
}
