//! Retries and failures over time.

use super::rounding::four_digits;
use super::timeline::TimeAxis;
use crate::run::RecordedRun;
use serde::Serialize;
use std::cmp::Reverse;

/// How many kinds of failures are shown individually.
const MAX_KINDS: usize = 7;

/// One kind of failure, or the retries.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FaultFigures {
    /// What happened.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// When for the first and for the last time, in seconds since the start of the run, where that is known.
    pub when: Option<(f64, f64)>,
    /// The worker that had the most of them, and how many; empty where no worker is known.
    pub worker: (String, u64),
    /// How many there were in each bucket, per second.
    pub(crate) rate: Vec<f64>,
}

/// Where and when something happened.
struct Happening {
    at: Option<f64>,
    worker: Option<u32>,
}

/// The retries, if there are any, and each kind of failure, the most frequent first.
pub(crate) fn figures(run: &RecordedRun, axis: &TimeAxis) -> Vec<FaultFigures> {
    let retries: Vec<Happening> = run
        .decisions
        .iter()
        .filter(|decision| decision.attempt > 0)
        .map(|decision| Happening { at: decision.at, worker: Some(decision.worker) })
        .collect();
    let mut kinds: Vec<(String, Vec<Happening>)> =
        run.failure_kinds.as_slice().iter().map(|name| (name.clone(), Vec::new())).collect();
    for request in &run.requests {
        if let Some((_, of_kind)) = request.failure.and_then(|kind| kinds.get_mut(kind as usize)) {
            of_kind.push(Happening { at: request.end.or(request.start), worker: request.worker });
        }
    }
    kinds.sort_by_key(|(name, of_kind)| (Reverse(of_kind.len()), name.clone()));
    if kinds.len() > MAX_KINDS {
        let others = kinds.split_off(MAX_KINDS - 1);
        let name = format!("{} other kinds", others.len());
        kinds.push((name, others.into_iter().flat_map(|(_, of_kind)| of_kind).collect()));
    }
    if !retries.is_empty() {
        kinds.insert(0, ("tried again".to_owned(), retries));
    }
    kinds.into_iter().map(|(kind, all)| of_kind(kind, &all, run, axis)).collect()
}

fn of_kind(kind: String, all: &[Happening], run: &RecordedRun, axis: &TimeAxis) -> FaultFigures {
    let mut rate = vec![0.0; axis.buckets];
    let mut per_worker = vec![0_u64; run.workers.as_slice().len()];
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    for happening in all {
        if let Some(at) = happening.at {
            rate[axis.bucket(at)] += 1.0;
            (first, last) = (first.min(at - axis.start), last.max(at - axis.start));
        }
        if let Some(worker) = happening.worker {
            per_worker[worker as usize] += 1;
        }
    }
    let most = (0..per_worker.len()).max_by_key(|&worker| (per_worker[worker], Reverse(worker)));
    let most = most.filter(|&worker| per_worker[worker] > 0);
    FaultFigures {
        kind,
        count: all.len() as u64,
        when: (first <= last).then(|| (four_digits(first), four_digits(last))),
        worker: most.map_or_else(Default::default, |worker| {
            (run.workers.as_slice()[worker].clone(), per_worker[worker])
        }),
        rate: rate.into_iter().map(|n| four_digits(n / axis.width)).collect(),
    }
}
