//! How a policy in Python fared: counts that its author and its operator can see.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts of one policy, over all routers and runs of this process that it decides for.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Decisions that the policy made.
    pub(crate) decisions: Count,
    /// Nanoseconds that those took, waiting included.
    pub(crate) nanos: Count,
    /// Times that it raised, or returned what makes no sense.
    pub(crate) errors: Count,
    /// Decisions for which its answer came too late.
    pub(crate) late: Count,
    /// Decisions for which it was not asked: it was busy, or had used up its part of the time.
    pub(crate) busy: Count,
    /// Events that it was told.
    pub(crate) events: Count,
    /// Events that it was not told, because too many waited.
    pub(crate) events_dropped: Count,
    /// The traceback of the last error that was logged.
    pub(crate) last_error: Mutex<Option<String>>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn inc(&self) {
        self.add(1);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Tally {
    /// One more decision, which took so long.
    pub(super) fn decided(&self, took: Duration) {
        self.decisions.inc();
        self.nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Everything, by name.
    pub(crate) fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        counts.set_item("decisions", self.decisions.get())?;
        counts.set_item("seconds", self.nanos.get() as f64 * 1e-9)?;
        counts.set_item("errors", self.errors.get())?;
        counts.set_item("late", self.late.get())?;
        counts.set_item("busy", self.busy.get())?;
        counts.set_item("events", self.events.get())?;
        counts.set_item("events_dropped", self.events_dropped.get())?;
        counts.set_item("last_error", self.last_error.lock().clone())?;
        Ok(counts)
    }

    /// The figures that the router's metrics show.
    pub(super) fn gauges(&self, tell: &mut dyn FnMut(&'static str, f64)) {
        let counts = [
            ("python_decisions", &self.decisions),
            ("python_errors", &self.errors),
            ("python_late", &self.late),
            ("python_busy", &self.busy),
            ("python_events_dropped", &self.events_dropped),
        ];
        counts.into_iter().for_each(|(name, count)| tell(name, count.get() as f64));
    }
}
