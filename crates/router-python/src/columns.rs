//! Rows by column, for tables in Python.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// The values of one column, by row. `None` is unknown.
#[derive(Debug)]
pub(crate) enum PythonColumn {
    /// Numbers with a fraction.
    Real(Vec<Option<f64>>),
    /// Whole numbers.
    Whole(Vec<Option<u64>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
    /// Distinct texts, and for each row the index of its text.
    Text(Vec<String>, Vec<Option<u32>>),
}

impl PythonColumn {
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match self {
            Self::Real(values) => PyList::new(py, values),
            Self::Whole(values) => PyList::new(py, values),
            Self::Flag(values) => PyList::new(py, values),
            Self::Text(texts, places) => {
                let texts: Vec<_> = texts.iter().map(|text| PyString::new(py, text)).collect();
                PyList::new(py, places.iter().map(|place| place.and_then(|p| texts.get(p as usize))))
            }
        }
    }
}

/// Columns of equal length. A column becomes a Python list when it is read.
#[pyclass(frozen, module = "sgl_router._native")]
#[derive(Debug)]
pub(crate) struct Columns {
    columns: Vec<(String, PythonColumn)>,
    rows: usize,
}

impl Columns {
    /// `columns` have `rows` values each.
    pub(crate) const fn new(columns: Vec<(String, PythonColumn)>, rows: usize) -> Self {
        Self { columns, rows }
    }
}

#[pymethods]
impl Columns {
    /// The names, in order.
    fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The values of one column, by row.
    fn column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        let found = self.columns.iter().find(|(known, _)| known == name);
        found.ok_or_else(|| PyKeyError::new_err(name.to_owned()))?.1.list(py)
    }

    /// The type of the values of one column: `real`, `whole`, `flag` or `text`.
    fn kind(&self, name: &str) -> Option<&'static str> {
        let (_, values) = self.columns.iter().find(|(known, _)| known == name)?;
        Some(match values {
            PythonColumn::Real(_) => "real",
            PythonColumn::Whole(_) => "whole",
            PythonColumn::Flag(_) => "flag",
            PythonColumn::Text(..) => "text",
        })
    }

    fn __len__(&self) -> usize {
        self.rows
    }
}
