//! Counters of a Python policy, for its author and for the router's metrics.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one policy, over all routers and simulations of this process.
#[derive(Debug, Default)]
pub(crate) struct PolicyCounters {
    /// Decisions that the policy made.
    pub(crate) decisions: Counter,
    /// Nanoseconds of these decisions, waiting included.
    pub(crate) nanos: Counter,
    /// Calls that raised or returned something invalid.
    pub(crate) errors: Counter,
    /// Decisions that took too long.
    pub(crate) late: Counter,
    /// Decisions for which it was not asked, because it was busy or had used up its share of the time.
    pub(crate) busy: Counter,
    /// Events that it received.
    pub(crate) events: Counter,
    /// Events that were dropped because too many were queued.
    pub(crate) events_dropped: Counter,
    /// The traceback of the last error that was logged.
    pub(crate) last_error: Mutex<Option<String>>,
}

/// A counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
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

impl PolicyCounters {
    /// Counts a decision and its time.
    pub(super) fn decided(&self, took: Duration) {
        self.decisions.inc();
        self.nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All counters by name.
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
