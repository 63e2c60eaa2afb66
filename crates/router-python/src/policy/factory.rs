//! Policy objects, and the Python class or function that makes them.

use super::channel::PolicyThread;
use pyo3::prelude::*;
use router_core::{PolicyError, PolicyNeeds, PolicyOptions};
use std::sync::Arc;
use std::time::Duration;

/// The Python half of this module.
const MODULE: &str = "sgl_router.policy";

/// A Python class or function that makes policy objects.
#[derive(Debug)]
pub(crate) struct PolicyFactory {
    pub(crate) name: Arc<str>,
    pub(crate) factory: Py<PyAny>,
}

/// One policy object.
#[derive(Debug)]
pub(super) struct PolicyInstance {
    pub(super) select: Py<PyAny>,
    /// Absent where the policy does not override it.
    pub(super) observe: Option<Py<PyAny>>,
    pub(super) needs: PolicyNeeds,
    /// Time limit for one decision.
    pub(super) timeout: Duration,
}

impl PolicyFactory {
    /// Makes a policy object with these options.
    ///
    /// # Errors
    /// What the factory raised, or an unknown option.
    pub(super) fn make(&self, py: Python<'_>, knobs: &PolicyOptions) -> PyResult<PolicyInstance> {
        let knobs = serde_json::Value::Object(knobs.clone()).to_string();
        let instance = py.import(MODULE)?.call_method1("_make", (&*self.name, &self.factory, knobs))?;
        let (select, observe, needs, timeout): (_, _, Vec<String>, f64) = instance.extract()?;
        let has = |need: &str| needs.iter().any(|n| n == need);
        let needs = PolicyNeeds {
            prefix_hashes: has("prefix_hashes"),
            text: has("text"),
            script: has("script"),
            load_reports: has("load_reports"),
            routing_key: has("routing_key"),
            target_worker: has("target_worker"),
            forecast: has("forecast"),
            progress: has("progress"),
        };
        Ok(PolicyInstance { select, observe, needs, timeout: Duration::from_secs_f64(timeout) })
    }

    /// An exception of the factory as the error of building the policy by name.
    pub(super) fn refused(&self, py: Python<'_>, error: &PyErr) -> PolicyError {
        let kind = error.get_type(py).name().map(|name| name.to_string()).unwrap_or_default();
        let text = error.value(py).to_string();
        let message = match text.lines().next() {
            Some(line) => format!("{kind}: {line}"),
            None => kind,
        };
        PolicyError::Options { policy: self.name.to_string(), message }
    }
}

/// Starts the thread of a policy.
pub(super) fn start(
    py: Python<'_>,
    name: &str,
    instance: &PolicyInstance,
    thread: PolicyThread,
) -> PyResult<()> {
    let args = (name, &instance.select, &instance.observe, thread);
    py.import(MODULE)?.call_method1("_start", args).map(drop)
}

/// Logs an error with its traceback, once for each type, and returns the text that was logged.
pub(super) fn report(py: Python<'_>, name: &str, call: &str, error: &PyErr) -> Option<String> {
    // The exception value carries the traceback. An error that cannot be logged is still counted.
    let value = error.clone_ref(py).into_value(py);
    let text = py.import(MODULE).and_then(|m| m.call_method1("_report", (name, call, value)));
    text.and_then(|text| text.extract()).ok().flatten()
}
