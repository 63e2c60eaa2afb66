//! The time of one decision, measured with the router's own balancer and no requests behind it.

use super::{PolicyHost, add_to};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use router_core::{
    AttemptResult, Balancer, ExplainLevel, Outcome, PolicyOptions, Reason, Registry, RequestFeatures,
    RequestId, Time, WorkerInfo,
};
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

/// Requests in flight on each worker.
const IN_FLIGHT: usize = 4;

/// Asks the policy `name` for `decisions` decisions among `workers` workers, `gap` seconds apart. Returns the seconds that
/// each decision of the policy took, and how many it missed.
#[pyfunction]
pub(crate) fn time_decisions(
    py: Python<'_>,
    name: &str,
    workers: usize,
    decisions: usize,
    gap: f64,
) -> PyResult<(Vec<f64>, usize)> {
    if workers < 2 {
        return Err(PyValueError::new_err("workers must be at least 2: with one there is no choice"));
    }
    let gap = Duration::try_from_secs_f64(gap).map_err(|e| PyValueError::new_err(format!("gap: {e}")))?;
    let mut registry = Registry::builtin();
    add_to(&mut registry, &PolicyHost::Live);
    let policy =
        registry.build(name, &PolicyOptions::new()).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let mut balancer = Balancer::new(policy, 1);
    for worker in 0..workers {
        balancer.join(Time::ZERO, WorkerInfo::new(&format!("http://worker-{worker}")));
    }
    py.detach(|| run(balancer, workers * IN_FLIGHT, decisions, gap))
}

fn run(mut balancer: Balancer, most: usize, decisions: usize, gap: Duration) -> PyResult<(Vec<f64>, usize)> {
    let began = Instant::now();
    let now = || Time::ZERO + began.elapsed();
    let (mut took, mut missed, mut running) = (Vec::with_capacity(decisions), 0, VecDeque::new());
    for id in (0_u64..).map(RequestId).take(decisions) {
        if !gap.is_zero() {
            thread::park_timeout(gap);
            Python::attach(|py| py.check_signals())?;
        }
        let request =
            RequestFeatures { id, prompt_bytes: 1200, batch: 1, choices: 1, ..RequestFeatures::default() };
        let from = Instant::now();
        let routed = balancer.dispatch(now(), &request, &[], ExplainLevel::None);
        let elapsed = from.elapsed().as_secs_f64();
        let routed = routed.map_err(|e| PyRuntimeError::new_err(e.to_string()))?;
        match routed.decision.reason {
            Reason::Fallback => missed += 1,
            _ => took.push(elapsed),
        }
        running.push_back(routed.ticket);
        if running.len() > most
            && let Some(ticket) = running.pop_front()
        {
            balancer.finish(now(), ticket, AttemptResult::of(Outcome::Success));
        }
    }
    for ticket in running {
        balancer.finish(now(), ticket, AttemptResult::of(Outcome::Cancelled));
    }
    Ok((took, missed))
}
