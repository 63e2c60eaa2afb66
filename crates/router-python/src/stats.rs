//! The statistics of a router as a Python dictionary.

use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict as _, PyDict};
use router_proxy::{RouterStats, WorkerStats};

/// The statistics with the field names of the Python class; `workers` is a list of dictionaries.
pub(crate) fn to_python<'py>(py: Python<'py>, stats: &RouterStats) -> PyResult<Bound<'py, PyDict>> {
    let workers = stats.workers.iter().map(|w| worker(py, w)).collect::<PyResult<Vec<_>>>()?;
    [
        ("policy", stats.policy.as_str().into_bound_py_any(py)?),
        ("requests", stats.requests.into_bound_py_any(py)?),
        ("in_flight", stats.in_flight.into_bound_py_any(py)?),
        ("queued", stats.queued.into_bound_py_any(py)?),
        ("workers", workers.into_bound_py_any(py)?),
    ]
    .into_py_dict(py)
}

fn worker<'py>(py: Python<'py>, w: &WorkerStats) -> PyResult<Bound<'py, PyDict>> {
    [
        ("url", w.url.as_str().into_bound_py_any(py)?),
        ("worker_type", w.worker_type.into_bound_py_any(py)?),
        ("state", w.state.into_bound_py_any(py)?),
        ("breaker", w.breaker.into_bound_py_any(py)?),
        ("in_flight", w.in_flight.into_bound_py_any(py)?),
        ("queue_length", w.queue_length.into_bound_py_any(py)?),
        ("requests", w.requests.into_bound_py_any(py)?),
        ("successes", w.successes.into_bound_py_any(py)?),
        ("failures", w.failures.into_bound_py_any(py)?),
        ("mean_latency", w.mean_latency.into_bound_py_any(py)?),
        ("last_error", w.last_error.as_deref().into_bound_py_any(py)?),
    ]
    .into_py_dict(py)
}
