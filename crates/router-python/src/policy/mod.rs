//! Policies that are written in Python.
//!
//! They are registered under a name, and are policies like any other from then on. Live they think on a thread of their
//! own ([`live`]); in a simulation they think in place ([`inline`]). Either way what they get wrong is theirs alone: the
//! least load decides, the error is logged and counted, and no request fails.

mod answer;
mod author;
mod desk;
mod event;
mod inline;
mod live;
mod measure;
mod senses;
mod tally;
mod view;

pub(crate) use author::Author;
pub(crate) use desk::Desk;
pub(crate) use event::Event;
pub(crate) use inline::{Inline, OnError, Trial};
pub(crate) use measure::time_decisions;
pub(crate) use tally::Tally;
pub(crate) use view::{Request, WorkerView};

use live::Live;
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_core::{Params, Policy, PolicyError, PolicySpec, Registry};
use std::sync::Arc;

/// A policy that was registered from Python.
#[derive(Debug)]
struct Registered {
    spec: PolicySpec,
    author: Author,
    tally: Arc<Tally>,
}

/// All of them, in the order in which they came.
static REGISTERED: Mutex<Vec<Arc<Registered>>> = Mutex::new(Vec::new());

/// Where a policy is going to decide.
#[derive(Clone, Debug)]
pub(crate) enum Host {
    /// In a router.
    Live,
    /// In this simulation, with counts of its own.
    Simulation(Arc<Trial>, Arc<Tally>),
}

impl Host {
    fn build(&self, policy: &Registered, knobs: &Params) -> Result<Box<dyn Policy>, PolicyError> {
        let Registered { author, tally, .. } = policy;
        match self {
            Self::Live => Ok(Box::new(Live::build(author, knobs, tally)?)),
            Self::Simulation(trial, tally) => {
                let built = Inline::build(author, knobs, tally, trial);
                // It may be the second one that fails, and whoever makes it then has no use for an error.
                let built = built.inspect_err(|e| trial.end(PyValueError::new_err(e.to_string())))?;
                Ok(Box::new(built))
            }
        }
    }
}

/// Adds everything that was registered from Python.
pub(crate) fn add_to(registry: &mut Registry, host: &Host) {
    for policy in &*REGISTERED.lock() {
        let (policy, host) = (Arc::clone(policy), host.clone());
        // The name has been tried when it was registered.
        let _ = registry.register(policy.spec.clone(), move |knobs| host.build(&policy, knobs));
    }
}

/// Registers `factory` under `name`; one of Python's that had the name before is replaced.
#[pyfunction]
pub(crate) fn register_policy(name: String, summary: &str, knobs: &str, factory: Py<PyAny>) -> PyResult<()> {
    let wrong = |error: PolicyError| PyValueError::new_err(error.to_string());
    let knobs: Params = serde_json::from_str(knobs).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let spec = PolicySpec { knobs, ..PolicySpec::new(&name, summary) };
    let never = |_: &Params| Err(PolicyError::BadName { name: String::new() });
    Registry::builtin().register(spec.clone(), never).map_err(wrong)?;
    let author = Author { name: name.as_str().into(), factory };
    let policy = Arc::new(Registered { spec, author, tally: Arc::default() });
    let mut all = REGISTERED.lock();
    let replaced = match all.iter_mut().find(|known| known.spec.name == name) {
        Some(known) => Some(std::mem::replace(known, policy)),
        None => {
            all.push(policy);
            None
        }
    };
    drop(all);
    // Outside of the lock: what an object of Python's does when it goes is its own affair.
    drop(replaced);
    Ok(())
}

/// The counts of a policy that was registered from Python.
#[pyfunction]
pub(crate) fn policy_counts<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let tally = REGISTERED.lock().iter().find(|p| p.spec.name == name).map(|p| Arc::clone(&p.tally));
    let tally = tally.ok_or_else(|| {
        PyKeyError::new_err(format!("no policy called `{name}` was registered from Python"))
    })?;
    tally.to_dict(py)
}
