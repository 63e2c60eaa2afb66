//! Policies that are written in Python.
//!
//! Once registered under a name they are policies like any other. In a router each runs on its own thread ([`live`]); in
//! a simulation it is called in place ([`inline`]). Where a policy fails, the least load decides, the error is logged and
//! counted, and no request fails.

mod channel;
mod choice;
mod counters;
mod event;
mod factory;
mod inline;
mod latency;
mod live;
mod measure;
mod view;
mod worker_history;

pub(crate) use channel::PolicyThread;
pub(crate) use counters::PolicyCounters;
pub(crate) use event::Event;
pub(crate) use factory::PolicyFactory;
pub(crate) use inline::{InlinePolicy, OnError, SimulationControl};
pub(crate) use measure::time_decisions;
pub(crate) use view::{Request, WorkerView};

use live::LivePolicy;
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_core::policy::Random;
use router_core::{Policy, PolicyError, PolicyOptions, PolicySpec, Registry};
use std::sync::Arc;

/// A policy that was registered from Python.
#[derive(Debug)]
struct RegisteredPolicy {
    spec: PolicySpec,
    factory: PolicyFactory,
    counters: Arc<PolicyCounters>,
}

/// All registered policies, in order of registration.
static REGISTERED: Mutex<Vec<Arc<RegisteredPolicy>>> = Mutex::new(Vec::new());

/// Where a policy will decide.
#[derive(Clone, Debug)]
pub(crate) enum PolicyHost {
    /// Nowhere: it is only named, and another one stands for it.
    Check,
    /// In a router.
    Live,
    /// In this simulation, with its own counters.
    Simulation(Arc<SimulationControl>, Arc<PolicyCounters>),
}

impl PolicyHost {
    fn build(
        &self,
        policy: &RegisteredPolicy,
        knobs: &PolicyOptions,
    ) -> Result<Box<dyn Policy>, PolicyError> {
        let RegisteredPolicy { factory, counters, .. } = policy;
        match self {
            Self::Check => Ok(Box::new(Random)),
            Self::Live => Ok(Box::new(LivePolicy::build(factory, knobs, counters)?)),
            Self::Simulation(control, counters) => {
                let built = InlinePolicy::build(factory, knobs, counters, control);
                // A later run may fail to make its policy, where no caller would see the error.
                let built = built.inspect_err(|e| control.end(PyValueError::new_err(e.to_string())))?;
                Ok(Box::new(built))
            }
        }
    }
}

/// Adds all policies that were registered from Python.
pub(crate) fn add_to(registry: &mut Registry, host: &PolicyHost) {
    for policy in &*REGISTERED.lock() {
        let (policy, host) = (Arc::clone(policy), host.clone());
        // The name was checked at registration.
        let _ = registry.register(policy.spec.clone(), move |knobs| host.build(&policy, knobs));
    }
}

/// Registers `factory` under `name`, in place of an earlier Python policy of that name.
#[pyfunction]
pub(crate) fn register_policy(name: String, summary: &str, knobs: &str, factory: Py<PyAny>) -> PyResult<()> {
    let wrong = |error: PolicyError| PyValueError::new_err(error.to_string());
    let knobs: PolicyOptions =
        serde_json::from_str(knobs).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let spec = PolicySpec { options: knobs, ..PolicySpec::new(&name, summary) };
    let never = |_: &PolicyOptions| Err(PolicyError::BadName { name: String::new() });
    Registry::builtin().register(spec.clone(), never).map_err(wrong)?;
    let factory = PolicyFactory { name: name.as_str().into(), factory };
    let policy = Arc::new(RegisteredPolicy { spec, factory, counters: Arc::default() });
    let mut all = REGISTERED.lock();
    let replaced = match all.iter_mut().find(|known| known.spec.name == name) {
        Some(known) => Some(std::mem::replace(known, policy)),
        None => {
            all.push(policy);
            None
        }
    };
    drop(all);
    // Outside the lock: dropping a Python object may run any code.
    drop(replaced);
    Ok(())
}

/// The counts of a policy that was registered from Python.
#[pyfunction]
pub(crate) fn policy_counts<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyDict>> {
    let counters = REGISTERED.lock().iter().find(|p| p.spec.name == name).map(|p| Arc::clone(&p.counters));
    let counters = counters.ok_or_else(|| {
        PyKeyError::new_err(format!("no policy called `{name}` was registered from Python"))
    })?;
    counters.to_dict(py)
}
