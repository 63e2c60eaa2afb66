//! `simulate`: the command of that name, with Python policies among the others.

use crate::columns::{Columns, PythonColumn};
use crate::policy::{
    InlinePolicy, OnError, PolicyCounters, PolicyFactory, PolicyHost, SimulationControl, add_to,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_core::policy::Random;
use router_core::{Policy, PolicyError, PolicyOptions, Registry};
use router_sim::{Contender, ExperimentObserver, FinishedRun, SimulatedRecord};
use sgl_router::CommandError;
use sgl_router::simulate::{PolicyComparison, SimulateArgs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval of checks for Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// The results of a simulation.
#[pyclass(frozen, get_all, module = "sgl_router._native")]
pub(crate) struct Simulated {
    /// The table as the command line prints it.
    text: String,
    /// The results as the command line writes them with `--json`.
    json: String,
    /// A row for each request of each run; None unless asked for.
    records: Option<Py<Columns>>,
    /// The counters of each policy, by name.
    counts: Vec<Py<PyDict>>,
}

/// A policy by its name with options, or a name and the factory.
type PolicyArgument = (String, Option<Py<PyAny>>);

/// A policy of the comparison and what is needed to make it.
struct PolicyEntry {
    name: String,
    factory: Option<PolicyFactory>,
    registry: Registry,
    counters: Arc<PolicyCounters>,
}

impl PolicyEntry {
    fn new(name: String, factory: Option<Py<PyAny>>, control: &Arc<SimulationControl>) -> Self {
        let (mut registry, counters) = (Registry::builtin(), Arc::default());
        add_to(&mut registry, &PolicyHost::Simulation(Arc::clone(control), Arc::clone(&counters)));
        let factory = factory.map(|factory| PolicyFactory { name: name.as_str().into(), factory });
        Self { name, factory, registry, counters }
    }

    fn contender<'a>(&'a self, control: &'a Arc<SimulationControl>) -> Result<Contender<'a>, PolicyError> {
        let Some(factory) = &self.factory else { return Contender::parse(&self.name, &self.registry) };
        let make = move || InlinePolicy::build(factory, &PolicyOptions::new(), &self.counters, control);
        make()?;
        Ok(Contender::new(&*self.name, move || -> Box<dyn Policy> {
            match make() {
                Ok(policy) => Box::new(policy),
                Err(error) => {
                    control.end(refused(&error));
                    Box::new(Random)
                }
            }
        }))
    }
}

fn refused(error: &PolicyError) -> PyErr {
    PyValueError::new_err(format!("policies: {error}"))
}

fn failed(error: CommandError) -> PyErr {
    let message = error.to_string();
    if error.is_usage() { PyValueError::new_err(message) } else { PyRuntimeError::new_err(message) }
}

/// Keeps the records, and checks for Ctrl-C.
struct RunObserver<'a> {
    control: &'a SimulationControl,
    checked_at: Instant,
    /// Index of the policy, seed, and record; `None` where records are not kept.
    kept: Option<Vec<(u32, u64, SimulatedRecord)>>,
}

impl ExperimentObserver for RunObserver<'_> {
    fn run_finished(&mut self, run: FinishedRun<'_>) {
        if let Some(kept) = &mut self.kept {
            let records = run.outcome.records.iter().flatten();
            kept.extend(records.map(|record| (run.contender as u32, run.seed, *record)));
        }
    }

    fn should_continue(&mut self) -> bool {
        if self.checked_at.elapsed() >= SIGNAL_INTERVAL {
            self.checked_at = Instant::now();
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                self.control.end(error);
            }
        }
        !self.control.has_ended()
    }
}

/// Compares policies under the flags of the command line.
///
/// `on_error` is `raise` or `fallback`.
#[pyfunction]
pub(crate) fn run_simulation(
    py: Python<'_>,
    flags: Vec<String>,
    policies: Vec<PolicyArgument>,
    on_error: &str,
    keep: bool,
) -> PyResult<Simulated> {
    let on_error = match on_error {
        "fallback" => OnError::FallBack,
        "raise" => OnError::Raise,
        other => {
            let message = format!("on_error must be 'fallback' or 'raise', not '{other}'");
            return Err(PyValueError::new_err(message));
        }
    };
    let control = Arc::new(SimulationControl::new(on_error));
    let entries: Vec<PolicyEntry> =
        policies.into_iter().map(|(name, factory)| PolicyEntry::new(name, factory, &control)).collect();
    let (text, json, records) = py.detach(|| run(&flags, &entries, &control, keep))?;
    let counts =
        entries.iter().map(|e| e.counters.to_dict(py).map(Bound::unbind)).collect::<PyResult<_>>()?;
    let records = records.map(|columns| Py::new(py, columns)).transpose()?;
    Ok(Simulated { text, json, records, counts })
}

/// The table, the JSON and the records.
type StudyResults = (String, String, Option<Columns>);

fn run(
    flags: &[String],
    entries: &[PolicyEntry],
    control: &Arc<SimulationControl>,
    keep: bool,
) -> PyResult<StudyResults> {
    let args = SimulateArgs::parse(flags).map_err(failed)?;
    let contenders = entries.iter().map(|entry| entry.contender(control));
    let contenders = contenders.collect::<Result<Vec<_>, _>>().map_err(|e| refused(&e))?;
    let study = PolicyComparison::new(&args).map_err(failed)?;
    let mut observer = RunObserver { control, checked_at: Instant::now(), kept: keep.then(Vec::new) };
    let table = study.run(&contenders, &mut observer);
    // An error near the end may come after the last check.
    if let Some(error) = control.error() {
        return Err(error);
    }
    let table = table.ok_or_else(|| PyRuntimeError::new_err("the simulation was stopped"))?;
    let json = study.json(&table).map_err(failed)?;
    let names = contenders.iter().map(|contender| contender.name.clone()).collect();
    let records = observer.kept.map(|kept| columns(&kept, names, study.servers()));
    Ok((study.text(&table), json, records))
}

fn columns(kept: &[(u32, u64, SimulatedRecord)], policies: Vec<String>, servers: Vec<String>) -> Columns {
    let real = |of: fn(&SimulatedRecord) -> Option<f64>| {
        PythonColumn::Real(kept.iter().map(|(.., r)| of(r)).collect())
    };
    let whole = |of: fn(&SimulatedRecord) -> u32| {
        PythonColumn::Whole(kept.iter().map(|(.., r)| Some(of(r).into())).collect())
    };
    let columns = [
        ("policy", PythonColumn::Text(policies, kept.iter().map(|(policy, ..)| Some(*policy)).collect())),
        ("seed", PythonColumn::Whole(kept.iter().map(|(_, seed, _)| Some(*seed)).collect())),
        ("server", PythonColumn::Text(servers, kept.iter().map(|(.., r)| Some(r.server)).collect())),
        ("answered", PythonColumn::Flag(kept.iter().map(|(.., r)| Some(r.finished_at.is_some())).collect())),
        ("arrived_at", real(|r| Some(r.arrived_at.as_secs_f64()))),
        ("first_token_at", real(|r| r.first_token_at.map(router_core::Time::as_secs_f64))),
        ("finished_at", real(|r| r.finished_at.map(router_core::Time::as_secs_f64))),
        ("e2e", real(SimulatedRecord::e2e)),
        ("ttft", real(SimulatedRecord::ttft)),
        ("tpot", real(SimulatedRecord::tpot)),
        ("prompt_tokens", whole(|r| r.prompt_tokens)),
        ("cached_tokens", whole(|r| r.cached_tokens)),
        ("output_tokens", whole(|r| r.output_tokens)),
        ("attempts", whole(|r| r.attempts)),
    ];
    Columns::new(columns.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(), kept.len())
}
