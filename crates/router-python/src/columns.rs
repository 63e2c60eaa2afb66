//! Many rows of alike things, by column: what becomes a table in Python.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

/// The values of one column, by row. Absent is unknown.
#[derive(Debug)]
pub(crate) enum Values {
    /// Numbers with a fraction.
    Real(Vec<Option<f64>>),
    /// Whole numbers.
    Whole(Vec<Option<u64>>),
    /// Yes or no.
    Flag(Vec<Option<bool>>),
    /// Texts, each kept once, and the place of every row's among them.
    Text(Vec<String>, Vec<Option<u32>>),
}

impl Values {
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

/// Columns of equal length. They become lists of Python's when they are asked for.
#[pyclass(frozen, module = "sgl_router._native")]
#[derive(Debug)]
pub(crate) struct Columns {
    columns: Vec<(String, Values)>,
    rows: usize,
}

impl Columns {
    /// `columns` have `rows` values each.
    pub(crate) const fn new(columns: Vec<(String, Values)>, rows: usize) -> Self {
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

    /// What the values of one column are: `real`, `whole`, `flag` or `text`.
    fn kind(&self, name: &str) -> Option<&'static str> {
        let (_, values) = self.columns.iter().find(|(known, _)| known == name)?;
        Some(match values {
            Values::Real(_) => "real",
            Values::Whole(_) => "whole",
            Values::Flag(_) => "flag",
            Values::Text(..) => "text",
        })
    }

    fn __len__(&self) -> usize {
        self.rows
    }
}
