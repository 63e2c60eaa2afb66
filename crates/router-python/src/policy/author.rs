//! A policy object of Python's, made by its author's class or function.

use super::desk::Desk;
use pyo3::prelude::*;
use router_core::{Needs, Params, PolicyError};
use std::sync::Arc;
use std::time::Duration;

/// The half of this that is written in Python.
const MODULE: &str = "sgl_router.policy";

/// Whoever makes policies: a class or a function of Python's.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) name: Arc<str>,
    pub(crate) factory: Py<PyAny>,
}

/// One policy object.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) select: Py<PyAny>,
    /// Absent where the policy does not learn.
    pub(super) observe: Option<Py<PyAny>>,
    pub(super) needs: Needs,
    /// Longest time that one decision may take.
    pub(super) timeout: Duration,
}

impl Author {
    /// Makes a policy with these knobs.
    ///
    /// # Errors
    /// What its author's code raised, or an unknown knob.
    pub(super) fn make(&self, py: Python<'_>, knobs: &Params) -> PyResult<Made> {
        let knobs = serde_json::Value::Object(knobs.clone()).to_string();
        let made = py.import(MODULE)?.call_method1("_make", (&*self.name, &self.factory, knobs))?;
        let (select, observe, needs, timeout): (_, _, Vec<String>, f64) = made.extract()?;
        let has = |need: &str| needs.iter().any(|n| n == need);
        let needs = Needs {
            prefix_hashes: has("prefix_hashes"),
            text: has("text"),
            script: has("script"),
            load_reports: has("load_reports"),
            routing_key: has("routing_key"),
            target_worker: has("target_worker"),
        };
        Ok(Made { select, observe, needs, timeout: Duration::from_secs_f64(timeout) })
    }

    /// The error of whoever asked for the policy by name.
    pub(super) fn refused(&self, py: Python<'_>, error: &PyErr) -> PolicyError {
        let kind = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        let said = error.value(py).to_string();
        let message = match said.lines().next() {
            Some(line) => format!("{kind}: {line}"),
            None => kind,
        };
        PolicyError::Params { policy: self.name.to_string(), message }
    }
}

/// Lets the policy's thread serve at `desk`.
pub(super) fn start(py: Python<'_>, name: &str, made: &Made, desk: Desk) -> PyResult<()> {
    let args = (name, &made.select, &made.observe, desk);
    py.import(MODULE)?.call_method1("_start", args).map(drop)
}

/// Logs an error with its traceback, once for each type, and returns it as text.
pub(super) fn report(py: Python<'_>, name: &str, call: &str, error: &PyErr) -> Option<String> {
    // As a value it has its traceback with it. What cannot be logged is still counted.
    let value = error.clone_ref(py).into_value(py);
    let told = py.import(MODULE).and_then(|m| m.call_method1("_report", (name, call, value)));
    told.and_then(|text| text.extract()).ok().flatten()
}
