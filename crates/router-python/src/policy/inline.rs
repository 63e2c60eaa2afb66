//! A Python policy in a simulation. It is called in place, however long it takes, so that a run can be repeated.

use super::choice::{PolicyChoice, fallback};
use super::counters::PolicyCounters;
use super::factory::{PolicyFactory, PolicyInstance, report};
use super::view::Request;
use super::worker_history::WorkerHistory;
use parking_lot::Mutex;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use router_core::{
    Decision, DecisionContext, Event, Policy, PolicyError, PolicyNeeds, PolicyOptions, Reason, Time, WorkerId,
};
use std::sync::Arc;
use std::time::Instant;

/// What an error of a policy does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnError {
    /// The least load decides, as in a router.
    FallBack,
    /// It ends the simulation.
    Raise,
}

/// Lets the policies of a simulation end it.
#[derive(Debug)]
pub(crate) struct SimulationControl {
    on_error: OnError,
    ended: Mutex<Option<PyErr>>,
}

impl SimulationControl {
    pub(crate) const fn new(on_error: OnError) -> Self {
        Self { on_error, ended: Mutex::new(None) }
    }

    /// Ends the simulation with this error; the first error counts.
    pub(crate) fn end(&self, error: PyErr) {
        self.ended.lock().get_or_insert(error);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// The error that ended the simulation.
    pub(crate) fn error(&self) -> Option<PyErr> {
        self.ended.lock().take()
    }
}

/// A policy that is called in place.
#[derive(Debug)]
pub(crate) struct InlinePolicy {
    name: Arc<str>,
    instance: PolicyInstance,
    history: WorkerHistory,
    counters: Arc<PolicyCounters>,
    control: Arc<SimulationControl>,
}

impl InlinePolicy {
    /// Makes the policy.
    pub(crate) fn build(
        factory: &PolicyFactory,
        knobs: &PolicyOptions,
        counters: &Arc<PolicyCounters>,
        control: &Arc<SimulationControl>,
    ) -> Result<Self, PolicyError> {
        let instance = Python::attach(|py| factory.make(py, knobs).map_err(|e| factory.refused(py, &e)))?;
        Ok(Self {
            name: Arc::clone(&factory.name),
            instance,
            history: WorkerHistory::default(),
            counters: Arc::clone(counters),
            control: Arc::clone(control),
        })
    }

    fn ask(&self, py: Python<'_>, cx: &mut DecisionContext<'_>) -> PyResult<PolicyChoice> {
        let workers = self.history.workers(cx);
        let ids: Vec<WorkerId> = cx.candidates.ids().to_vec();
        let args = (Request::of(cx, self.instance.needs), PyTuple::new(py, workers)?);
        PolicyChoice::read(&self.instance.select.bind(py).call1(args)?, &ids)
    }

    fn record_error(&self, py: Python<'_>, call: &str, error: PyErr) {
        self.counters.errors.inc();
        // Ctrl-C and sys.exit() are not errors of the policy.
        if self.control.on_error == OnError::Raise || !error.is_instance_of::<PyException>(py) {
            self.control.end(error);
        } else if let Some(text) = report(py, &self.name, call, &error) {
            *self.counters.last_error.lock() = Some(text);
        }
    }
}

impl Policy for InlinePolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> PolicyNeeds {
        self.instance.needs
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        if cx.candidates.len() == 1 {
            return Decision::plain(cx.candidates.first(), Reason::OnlyCandidate);
        }
        if self.control.has_ended() {
            return fallback(cx);
        }
        let started = Instant::now();
        let choice = Python::attach(|py| {
            self.ask(py, &mut cx).map_err(|error| self.record_error(py, "select", error))
        });
        match choice {
            Ok(choice) => {
                self.counters.decided(started.elapsed());
                choice.decide(cx)
            }
            Err(()) => fallback(cx),
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.history.observe(event);
        if let Some(observe) = &self.instance.observe
            && !self.control.has_ended()
            && let Some(event) = self.history.event(now, event)
        {
            self.counters.events.inc();
            Python::attach(|py| {
                if let Err(error) = observe.call1(py, (event,)) {
                    self.record_error(py, "observe", error);
                }
            });
        }
        self.history.forget(event);
    }
}
