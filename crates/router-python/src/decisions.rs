//! The decisions of a running router, for an iterator in Python.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyDict};
use router_proxy::{LiveDecision, NextDecision};
use std::time::Duration;

/// Interval at which Python checks for signals while it waits for a decision.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// One subscriber to the decisions.
#[pyclass(frozen, module = "sgl_router._native")]
pub(crate) struct Decisions {
    decisions: router_proxy::DecisionStream,
}

impl Decisions {
    pub(crate) const fn new(decisions: router_proxy::DecisionStream) -> Self {
        Self { decisions }
    }
}

#[pymethods]
impl Decisions {
    /// The next decision, with the field names of the Python class; `None` once the router has stopped.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDict>>> {
        loop {
            match py.detach(|| self.decisions.next(SIGNAL_INTERVAL)) {
                NextDecision::Decision(decision) => return to_python(py, &decision).map(Some),
                NextDecision::Closed => return Ok(None),
                NextDecision::Timeout => py.check_signals()?,
            }
        }
    }

    /// Decisions that were dropped because the queue was full.
    #[getter]
    fn dropped(&self) -> u64 {
        self.decisions.dropped()
    }
}

fn to_python<'py>(py: Python<'py>, d: &LiveDecision) -> PyResult<Bound<'py, PyDict>> {
    let shadows = d.shadow_choices.iter().map(|(policy, url)| (&**policy, &**url));
    [
        ("time", d.time.as_secs_f64().into_bound_py_any(py)?),
        ("request_id", d.request_id.as_str().into_bound_py_any(py)?),
        ("attempt", d.attempt.into_bound_py_any(py)?),
        ("leg", d.leg.into_bound_py_any(py)?),
        ("policy", (&*d.policy).into_bound_py_any(py)?),
        ("route", d.route.into_bound_py_any(py)?),
        ("stream", d.stream.into_bound_py_any(py)?),
        ("worker_url", (&*d.worker_url).into_bound_py_any(py)?),
        ("selection_reason", d.selection_reason.into_bound_py_any(py)?),
        ("cost", d.cost.into_bound_py_any(py)?),
        ("runner_up", d.runner_up.as_deref().into_bound_py_any(py)?),
        ("runner_up_cost", d.runner_up_cost.into_bound_py_any(py)?),
        ("ties", d.ties.into_bound_py_any(py)?),
        ("candidates", d.candidates.into_bound_py_any(py)?),
        ("outstanding_requests", d.outstanding_requests.into_bound_py_any(py)?),
        ("queue_length", d.queue_length.into_bound_py_any(py)?),
        ("running", d.running.into_bound_py_any(py)?),
        ("prompt_bytes", d.prompt_bytes.into_bound_py_any(py)?),
        ("prompt_tokens", d.prompt_tokens.into_bound_py_any(py)?),
        ("max_output_tokens", d.max_output_tokens.into_bound_py_any(py)?),
        ("decision_time_ms", (d.took.as_secs_f64() * 1e3).into_bound_py_any(py)?),
        ("terms", d.terms.iter().copied().into_py_dict(py)?.into_bound_py_any(py)?),
        ("shadow_choices", shadows.into_py_dict(py)?.into_bound_py_any(py)?),
    ]
    .into_py_dict(py)
}
