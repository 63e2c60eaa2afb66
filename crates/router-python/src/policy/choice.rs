//! The return value of `select()` and the decision that it becomes.

use super::view::WorkerView;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use router_core::{Decision, DecisionContext, Reason, ScoreTerms, WorkerId, WorkerView as View};

/// A valid choice.
#[derive(Debug)]
pub(super) struct PolicyChoice {
    /// The index of the worker among those that the policy was given.
    index: usize,
    /// The cost of each worker, in the same order; empty where the policy gives none.
    costs: Vec<f64>,
}

/// The decision by least load, for when the policy did not decide.
pub(super) fn fallback(mut cx: DecisionContext<'_>) -> Decision {
    let terms =
        |w: &View<'_>| ScoreTerms::new([("in_flight", f64::from(w.in_flight)), ("weight", w.weight())]);
    cx.lowest(Reason::Fallback, |w| w.next_load(), terms)
}

impl PolicyChoice {
    /// Reads an index, a worker, or either with a list of costs. `workers` are those that the policy was given.
    ///
    /// # Errors
    /// A `TypeError`, `ValueError` or `IndexError` that says what is wrong.
    pub(super) fn read(returned: &Bound<'_, PyAny>, workers: &[WorkerId]) -> PyResult<Self> {
        let Ok(pair) = returned.cast::<PyTuple>() else {
            return Ok(Self { index: index_of(returned, workers)?, costs: Vec::new() });
        };
        if pair.len() != 2 {
            let message = format!("select() returned a tuple of {}, not of a choice and costs", pair.len());
            return Err(PyTypeError::new_err(message));
        }
        let (choice, costs) = (pair.get_item(0)?, pair.get_item(1)?);
        let costs: Vec<f64> = if costs.is_none() { Vec::new() } else { numbers(&costs)? };
        if !costs.is_empty() && costs.len() != workers.len() {
            let message = format!("select() returned {} costs for {} workers", costs.len(), workers.len());
            return Err(PyValueError::new_err(message));
        }
        Ok(Self { index: index_of(&choice, workers)?, costs })
    }

    /// The decision. Its reason is the lowest cost where the costs show it, else `Custom`.
    pub(super) fn decide(self, mut cx: DecisionContext<'_>) -> Decision {
        let Some(&worker) = cx.candidates.ids().get(self.index) else { return fallback(cx) };
        if self.costs.is_empty() {
            return Decision::plain(worker, Reason::Custom);
        }
        // As for all policies, a cost that is not finite counts as the highest.
        let finite = |cost: f64| if cost.is_finite() { cost } else { f64::MAX };
        let candidates = cx.candidates;
        let (mut least, mut runner_up) = (f64::MAX, None);
        let mut ties = 0;
        for (view, cost) in candidates.iter().zip(self.costs.iter().map(|c| finite(*c))) {
            cx.explain(view.id, cost, || ScoreTerms::new([("in_flight", f64::from(view.in_flight))]));
            ties = if ties == 0 || cost < least { 1 } else { ties + u32::from(cost <= least) };
            least = least.min(cost);
            if view.id != worker && runner_up.is_none_or(|(_, best)| cost < best) {
                runner_up = Some((view.id, cost));
            }
        }
        let cost = finite(self.costs[self.index]);
        let reason = if cost <= least { Reason::LowestCost } else { Reason::Custom };
        Decision { worker, reason, cost: Some(cost), runner_up, ties, predicted_cached_tokens: None }
    }
}

/// The index that a choice, an index or a worker, stands for.
fn index_of(choice: &Bound<'_, PyAny>, workers: &[WorkerId]) -> PyResult<usize> {
    if let Ok(view) = choice.cast::<WorkerView>() {
        let id = view.get().id;
        return workers.iter().position(|worker| *worker == id).ok_or_else(|| {
            PyValueError::new_err("select() returned a worker that cannot be chosen for this request")
        });
    }
    let index = if choice.is_instance_of::<PyBool>() { None } else { choice.extract::<i64>().ok() };
    let Some(index) = index else {
        let kind = choice.get_type().qualname()?;
        let message = format!("select() returned {kind}; expected an index, a worker, or either with costs");
        return Err(PyTypeError::new_err(message));
    };
    usize::try_from(index).ok().filter(|index| *index < workers.len()).ok_or_else(|| {
        PyIndexError::new_err(format!(
            "select() returned {index}; the workers are 0 to {}",
            workers.len() - 1
        ))
    })
}

/// Numbers from any iterable, such as a list or an array of numpy.
fn numbers(costs: &Bound<'_, PyAny>) -> PyResult<Vec<f64>> {
    let wrong = |_| PyTypeError::new_err("select() returned costs that are not a list of numbers");
    let mut found = Vec::new();
    for cost in costs.try_iter().map_err(wrong)? {
        found.push(cost.and_then(|cost| cost.extract::<f64>()).map_err(wrong)?);
    }
    Ok(found)
}
