//! The decisions of a run: why, and an even sample of them one by one.

use super::short;
use super::timeline::TimeAxis;
use super::workers::WorkerGroups;
use crate::run::{RecordedDecision, RecordedRun};
use router_core::Rng;
use serde::Serialize;

/// Decisions one by one, in columns.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub(crate) struct DecisionColumns {
    /// How many decisions there are.
    pub(crate) total: usize,
    /// Seconds since the run began, ascending.
    pub(crate) at: Vec<f64>,
    /// The place of the chosen worker among the figures' workers.
    pub(crate) worker: Vec<usize>,
    /// The place of the reason among the figures' reasons.
    pub(crate) reason: Vec<usize>,
    pub(crate) throughput_gradient: Vec<Option<f64>>,
    pub(crate) latency_gradient: Vec<Option<f64>>,
    pub(crate) score: Vec<Option<f64>>,
}

impl DecisionColumns {
    /// All decisions, or `most` of them.
    pub(crate) fn of(run: &RecordedRun, groups: &WorkerGroups, axis: &TimeAxis, most: usize) -> Self {
        let mut choices: Vec<(f64, &RecordedDecision)> =
            run.choices.iter().filter_map(|c| Some((c.at?, c))).collect();
        choices.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ranks = ranks(run);
        let mut columns = Self { total: run.choices.len(), ..Self::default() };
        for (at, choice) in sample(&choices, most) {
            let value = |value: Option<f64>| value.map(short);
            // Microseconds tell apart what a plot can show.
            columns.at.push(((at - axis.start) * 1e6).round() / 1e6);
            columns.worker.push(groups.group(choice.worker));
            columns.reason.push(ranks[choice.reason as usize]);
            columns.throughput_gradient.push(value(choice.throughput_gradient));
            columns.latency_gradient.push(value(choice.latency_gradient));
            columns.score.push(value(choice.score));
        }
        columns
    }
}

/// One of each of `most` equal stretches, drawn by lot: every n-th would always hit the same worker of a rotation.
fn sample<'a>(all: &[(f64, &'a RecordedDecision)], most: usize) -> Vec<(f64, &'a RecordedDecision)> {
    if all.len() <= most {
        return all.to_vec();
    }
    let mut rng = Rng::seeded(1);
    let edge = |i: usize| i * all.len() / most;
    (0..most).map(|i| all[edge(i) + rng.below(edge(i + 1) - edge(i))]).collect()
}

/// How often each reason was given, by its place in the run.
fn counts(run: &RecordedRun) -> Vec<u64> {
    let mut counts = vec![0; run.reasons.as_slice().len()];
    run.choices.iter().for_each(|c| counts[c.reason as usize] += 1);
    counts
}

/// The places of the reasons, the most frequent first.
fn order(run: &RecordedRun) -> Vec<usize> {
    let counts = counts(run);
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&place| (std::cmp::Reverse(counts[place]), &run.reasons.as_slice()[place]));
    order
}

/// The rank of each reason, by its place in the run.
fn ranks(run: &RecordedRun) -> Vec<usize> {
    let order = order(run);
    let mut ranks = vec![0; order.len()];
    order.iter().enumerate().for_each(|(rank, &place)| ranks[place] = rank);
    ranks
}

/// The reasons and how often each was given, the most frequent first.
pub(crate) fn count_reasons(run: &RecordedRun) -> Vec<(String, u64)> {
    let counts = counts(run);
    order(run).into_iter().map(|place| (run.reasons.as_slice()[place].clone(), counts[place])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_a_rotation_keeps_its_shares() {
        let choice = |i: u32| RecordedDecision {
            at: Some(f64::from(i)),
            worker: i % 3,
            reason: 0,
            throughput_gradient: None,
            latency_gradient: None,
            score: None,
            took_ms: None,
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
