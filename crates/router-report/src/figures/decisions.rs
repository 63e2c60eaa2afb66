//! The decisions of a run: how often each reason was given, and an even sample of single decisions.

use super::rounding::four_digits;
use super::timeline::TimeAxis;
use super::workers::WorkerGroups;
use crate::run::{RecordedDecision, RecordedRun};
use router_core::Rng;
use serde::Serialize;

/// Sampled decisions, as columns.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct DecisionColumns {
    /// How many decisions there are.
    pub(crate) total: usize,
    /// Seconds since the start of the run, ascending.
    pub(crate) at: Vec<f64>,
    /// The index of the chosen worker among the figures' workers.
    pub(crate) worker: Vec<usize>,
    /// The index of the reason among the figures' reasons.
    pub(crate) reason: Vec<usize>,
    pub(crate) throughput_gradient: Vec<Option<f64>>,
    pub(crate) latency_gradient: Vec<Option<f64>>,
    pub(crate) score: Vec<Option<f64>>,
}

impl DecisionColumns {
    /// All decisions, or a sample of `max`.
    pub(crate) fn of(run: &RecordedRun, groups: &WorkerGroups, axis: &TimeAxis, max: usize) -> Self {
        let mut decisions: Vec<(f64, &RecordedDecision)> =
            run.decisions.iter().filter_map(|c| Some((c.at?, c))).collect();
        decisions.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ranks = ranks(run);
        let mut columns = Self { total: run.decisions.len(), ..Self::default() };
        for (at, decision) in sample(&decisions, max) {
            let value = |value: Option<f64>| value.map(four_digits);
            // Microseconds are finer than a plot can show.
            columns.at.push(((at - axis.start) * 1e6).round() / 1e6);
            columns.worker.push(groups.group(decision.worker));
            columns.reason.push(ranks[decision.reason as usize]);
            columns.throughput_gradient.push(value(decision.throughput_gradient));
            columns.latency_gradient.push(value(decision.latency_gradient));
            columns.score.push(value(decision.score));
        }
        columns
    }
}

/// A random decision of each of `max` equal sections. Taking every n-th could always hit the same worker of a rotation.
fn sample<'a>(all: &[(f64, &'a RecordedDecision)], max: usize) -> Vec<(f64, &'a RecordedDecision)> {
    if all.len() <= max {
        return all.to_vec();
    }
    let mut rng = Rng::seeded(1);
    let edge = |i: usize| i * all.len() / max;
    (0..max).map(|i| all[edge(i) + rng.below(edge(i + 1) - edge(i))]).collect()
}

/// How often each reason was given, by its index in the run.
fn counts(run: &RecordedRun) -> Vec<u64> {
    let mut counts = vec![0; run.reasons.as_slice().len()];
    run.decisions.iter().for_each(|c| counts[c.reason as usize] += 1);
    counts
}

/// The indices of the reasons, the most frequent first.
fn order(run: &RecordedRun) -> Vec<usize> {
    let counts = counts(run);
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(counts[index]), &run.reasons.as_slice()[index]));
    order
}

/// The rank of each reason, by its index in the run.
fn ranks(run: &RecordedRun) -> Vec<usize> {
    let order = order(run);
    let mut ranks = vec![0; order.len()];
    order.iter().enumerate().for_each(|(rank, &index)| ranks[index] = rank);
    ranks
}

/// The reasons and how often each was given, the most frequent first.
pub(crate) fn count_reasons(run: &RecordedRun) -> Vec<(String, u64)> {
    let counts = counts(run);
    order(run).into_iter().map(|index| (run.reasons.as_slice()[index].clone(), counts[index])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_of_rotation_keeps_shares() {
        let choice = |i: u32| RecordedDecision {
            at: Some(f64::from(i)),
            worker: i % 3,
            reason: 0,
            throughput_gradient: None,
            latency_gradient: None,
            score: None,
            took_ms: None,
            attempt: 0,
            seq: None,
        };
        let all: Vec<RecordedDecision> = (0..30_000).map(choice).collect();
        let all: Vec<(f64, &RecordedDecision)> = all.iter().map(|c| (f64::from(c.worker), c)).collect();
        let sample = sample(&all, 1000);
        assert_eq!(sample.len(), 1000);
        for worker in 0..3 {
            let n = sample.iter().filter(|(_, c)| c.worker == worker).count();
            assert!((280..390).contains(&n), "worker {worker}: {n} of 1000");
        }
    }
}
