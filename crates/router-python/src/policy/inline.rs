//! A policy in Python that decides in a simulation: in place, however long it takes, so that a run can be repeated.

use super::answer::{Answer, fallback};
use super::author::{Author, Made, report};
use super::senses::Senses;
use super::tally::Tally;
use super::view::Request;
use parking_lot::Mutex;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use router_core::{Cx, Decision, Event, Needs, Params, Policy, PolicyError, Reason, Time, WorkerId};
use std::sync::Arc;
use std::time::Instant;

/// What becomes of an error in a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OnError {
    /// The least load decides, as it does live.
    FallBack,
    /// The simulation ends with it.
    Raise,
}

/// One simulation, which its policies may end.
#[derive(Debug)]
pub(crate) struct Trial {
    on_error: OnError,
    ended: Mutex<Option<PyErr>>,
}

impl Trial {
    pub(crate) const fn new(on_error: OnError) -> Self {
        Self { on_error, ended: Mutex::new(None) }
    }

    /// Ends it with this error; the first one counts.
    pub(crate) fn end(&self, error: PyErr) {
        self.ended.lock().get_or_insert(error);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// What ended it.
    pub(crate) fn error(&self) -> Option<PyErr> {
        self.ended.lock().take()
    }
}

/// A policy that thinks in place.
#[derive(Debug)]
pub(crate) struct Inline {
    name: Arc<str>,
    made: Made,
    senses: Senses,
    tally: Arc<Tally>,
    trial: Arc<Trial>,
}

impl Inline {
    /// Makes the policy.
    pub(crate) fn build(
        author: &Author,
        knobs: &Params,
        tally: &Arc<Tally>,
        trial: &Arc<Trial>,
    ) -> Result<Self, PolicyError> {
        let made = Python::attach(|py| author.make(py, knobs).map_err(|e| author.refused(py, &e)))?;
        Ok(Self {
            name: Arc::clone(&author.name),
            made,
            senses: Senses::default(),
            tally: Arc::clone(tally),
            trial: Arc::clone(trial),
        })
    }

    fn ask(&self, py: Python<'_>, cx: &mut Cx<'_>) -> PyResult<Answer> {
        let workers = self.senses.workers(cx);
        let ids: Vec<WorkerId> = cx.candidates.ids().to_vec();
        let args = (Request::of(cx, self.made.needs), PyTuple::new(py, workers)?);
        Answer::read(&self.made.select.bind(py).call1(args)?, &ids)
    }

    fn stumbled(&self, py: Python<'_>, call: &str, error: PyErr) {
        self.tally.errors.inc();
        // Ctrl-C and sys.exit() are no errors of the policy.
        if self.trial.on_error == OnError::Raise || !error.is_instance_of::<PyException>(py) {
            self.trial.end(error);
        } else if let Some(text) = report(py, &self.name, call, &error) {
            *self.tally.last_error.lock() = Some(text);
        }
    }
}

impl Policy for Inline {
    fn name(&self) -> &str {
        &self.name
    }

    fn needs(&self) -> Needs {
        self.made.needs
    }

    fn decide(&mut self, mut cx: Cx<'_>) -> Decision {
        if cx.candidates.len() == 1 {
            return Decision::plain(cx.candidates.first(), Reason::OnlyCandidate);
        }
        if self.trial.has_ended() {
            return fallback(cx);
        }
        let from = Instant::now();
        let answer =
            Python::attach(|py| self.ask(py, &mut cx).map_err(|error| self.stumbled(py, "select", error)));
        match answer {
            Ok(answer) => {
                self.tally.decided(from.elapsed());
                answer.decide(cx)
            }
            Err(()) => fallback(cx),
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.senses.observe(event);
        if let Some(observe) = &self.made.observe
            && !self.trial.has_ended()
            && let Some(told) = self.senses.event(now, event)
        {
            self.tally.events.inc();
            Python::attach(|py| {
                if let Err(error) = observe.call1(py, (told,)) {
                    self.stumbled(py, "observe", error);
                }
            });
        }
        self.senses.forget(event);
    }
}
