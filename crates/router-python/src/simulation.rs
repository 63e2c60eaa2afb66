//! `simulate`: what the command line of that name does, with policies of Python's among the others.

use crate::columns::{Columns, Values};
use crate::policy::{Author, Host, Inline, OnError, Tally, Trial, add_to};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use router_core::policy::Random;
use router_core::{Params, Policy, PolicyError, Registry};
use router_sim::{Contender, ExperimentObserver, FinishedRun, SimulatedRecord};
use sgl_router::CommandError;
use sgl_router::simulate::{PolicyComparison, SimulateArgs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often Python is asked whether Ctrl-C was pressed.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What came of a simulation.
#[pyclass(frozen, get_all, module = "sgl_router._native")]
pub(crate) struct Simulated {
    /// The table as the command line prints it.
    text: String,
    /// Everything as the command line writes it with `--json`.
    json: String,
    /// A row for each request of each run; None when they are not wanted.
    records: Option<Py<Columns>>,
    /// For each policy how it fared, by name of the count.
    counts: Vec<Py<PyDict>>,
}

/// A policy by its name with knobs, or a name and whoever makes it.
type Entry = (String, Option<Py<PyAny>>);

/// One that is compared, and what it takes to make it.
struct Entrant {
    name: String,
    author: Option<Author>,
    registry: Registry,
    tally: Arc<Tally>,
}

impl Entrant {
    fn new((name, factory): Entry, trial: &Arc<Trial>) -> Self {
        let (mut registry, tally) = (Registry::builtin(), Arc::default());
        add_to(&mut registry, &Host::Simulation(Arc::clone(trial), Arc::clone(&tally)));
        let author = factory.map(|factory| Author { name: name.as_str().into(), factory });
        Self { name, author, registry, tally }
    }

    fn contender<'a>(&'a self, trial: &'a Arc<Trial>) -> Result<Contender<'a>, PolicyError> {
        let Some(author) = &self.author else { return Contender::parse(&self.name, &self.registry) };
        let make = move || Inline::build(author, &Params::new(), &self.tally, trial);
        make()?;
        Ok(Contender::new(&*self.name, move || -> Box<dyn Policy> {
            match make() {
                Ok(policy) => Box::new(policy),
                Err(error) => {
                    trial.end(refused(&error));
                    Box::new(Random)
                }
            }
        }))
    }
}

fn refused(error: &PolicyError) -> PyErr {
    PyValueError::new_err(format!("policies: {error}"))
}

fn failed(failure: CommandError) -> PyErr {
    match failure {
        CommandError::Usage(message) => PyValueError::new_err(message),
        CommandError::Runtime(message) => PyRuntimeError::new_err(message),
    }
}

/// Keeps the records, and looks up now and then.
struct Observer<'a> {
    trial: &'a Trial,
    looked_up: Instant,
    /// Place of the policy, seed, and record; nothing is kept when absent.
    kept: Option<Vec<(u32, u64, SimulatedRecord)>>,
}

impl ExperimentObserver for Observer<'_> {
    fn run_finished(&mut self, run: FinishedRun<'_>) {
        if let Some(kept) = &mut self.kept {
            let records = run.outcome.records.iter().flatten();
            kept.extend(records.map(|record| (run.contender as u32, run.seed, *record)));
        }
    }

    fn should_continue(&mut self) -> bool {
        if self.looked_up.elapsed() >= LOOK_UP {
            self.looked_up = Instant::now();
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                self.trial.end(error);
            }
        }
        !self.trial.has_ended()
    }
}

/// Compares policies under what `flags` say, which are those of the command line.
///
/// `on_error` is `raise` or `fallback`.
#[pyfunction]
pub(crate) fn run_simulation(
    py: Python<'_>,
    flags: Vec<String>,
    policies: Vec<Entry>,
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
    let trial = Arc::new(Trial::new(on_error));
    let entrants: Vec<Entrant> = policies.into_iter().map(|entry| Entrant::new(entry, &trial)).collect();
    let (text, json, records) = py.detach(|| run(&flags, &entrants, &trial, keep))?;
    let counts = entrants.iter().map(|e| e.tally.to_dict(py).map(Bound::unbind)).collect::<PyResult<_>>()?;
    let records = records.map(|columns| Py::new(py, columns)).transpose()?;
    Ok(Simulated { text, json, records, counts })
}

type Found = (String, String, Option<Columns>);

fn run(flags: &[String], entrants: &[Entrant], trial: &Arc<Trial>, keep: bool) -> PyResult<Found> {
    let args = SimulateArgs::parse(flags).map_err(failed)?;
    let contenders = entrants.iter().map(|entrant| entrant.contender(trial));
    let contenders = contenders.collect::<Result<Vec<_>, _>>().map_err(|e| refused(&e))?;
    let study = PolicyComparison::new(&args).map_err(failed)?;
    let mut observer = Observer { trial, looked_up: Instant::now(), kept: keep.then(Vec::new) };
    let table = study.run(&contenders, &mut observer);
    // An error near the end may come after the last look.
    if let Some(error) = trial.error() {
        return Err(error);
    }
    let table = table.ok_or_else(|| PyRuntimeError::new_err("the simulation was stopped"))?;
    let json = study.json(&table).map_err(failed)?;
    let names = contenders.iter().map(|contender| contender.name.clone()).collect();
    let records = observer.kept.map(|kept| columns(&kept, names, study.servers()));
    Ok((study.text(&table), json, records))
}

fn columns(kept: &[(u32, u64, SimulatedRecord)], policies: Vec<String>, servers: Vec<String>) -> Columns {
    let real =
        |of: fn(&SimulatedRecord) -> Option<f64>| Values::Real(kept.iter().map(|(.., r)| of(r)).collect());
    let whole = |of: fn(&SimulatedRecord) -> u32| {
        Values::Whole(kept.iter().map(|(.., r)| Some(of(r).into())).collect())
    };
    let columns = [
        ("policy", Values::Text(policies, kept.iter().map(|(policy, ..)| Some(*policy)).collect())),
        ("seed", Values::Whole(kept.iter().map(|(_, seed, _)| Some(*seed)).collect())),
        ("server", Values::Text(servers, kept.iter().map(|(.., r)| Some(r.server)).collect())),
        ("answered", Values::Flag(kept.iter().map(|(.., r)| Some(r.finished_at.is_some())).collect())),
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
