//! What each shadow policy would have done.

use super::rounding::four_digits;
use super::timeline::TimeAxis;
use super::workers::WorkerGroups;
use crate::run::{RecordedRun, RecordedShadow};
use serde::Serialize;

/// A shadow policy beside the live one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ShadowFigures {
    /// Its name.
    pub policy: String,
    /// Decisions of which its choice is known.
    pub decisions: u64,
    /// Those of them in which it would have chosen the same worker.
    pub agreed: u64,
    /// The share of its choices of each worker of the figures, from 0 to 1.
    pub(crate) shares: Vec<f64>,
    /// The share of the live policy's choices of each worker in the same decisions.
    pub(crate) live_shares: Vec<f64>,
    /// The share of the decisions of each bucket in which it agrees; absent in a bucket without decisions.
    pub(crate) agreement: Vec<Option<f64>>,
    /// How it rated the choices, as means over the decisions, if the candidates were recorded.
    pub ratings: Option<RatedChoices>,
}

/// How a shadow policy rated its own choices and those of the live policy, as means.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct RatedChoices {
    /// Decisions with both ratings.
    pub decisions: u64,
    /// Those of them in which the two workers differ.
    pub differing: u64,
    /// The cost of its own choices, in the unit of the policy.
    pub own_cost: f64,
    /// The cost of the live choices.
    pub live_cost: f64,
    /// The latencies that it predicts for its own choices and for the live ones, in seconds, if it predicts any.
    pub latency: Option<(f64, f64)>,
}

/// The figures of every shadow policy of a run.
pub(crate) fn figures(run: &RecordedRun, groups: &WorkerGroups, axis: &TimeAxis) -> Vec<ShadowFigures> {
    run.shadows.iter().map(|shadow| of_shadow(run, shadow, groups, axis)).collect()
}

fn of_shadow(
    run: &RecordedRun,
    shadow: &RecordedShadow,
    groups: &WorkerGroups,
    axis: &TimeAxis,
) -> ShadowFigures {
    let (mut decisions, mut agreed) = (0, 0);
    let (mut chosen, mut live) = (vec![0_u64; groups.len()], vec![0_u64; groups.len()]);
    let mut buckets = vec![(0_u32, 0_u32); axis.buckets];
    for (decision, choice) in run.decisions.iter().zip(&shadow.choices) {
        let Some(choice) = *choice else { continue };
        let agrees = choice == decision.worker;
        decisions += 1;
        agreed += u64::from(agrees);
        chosen[groups.group(choice)] += 1;
        live[groups.group(decision.worker)] += 1;
        if let Some(at) = decision.at {
            let (all, same) = &mut buckets[axis.bucket(at)];
            *all += 1;
            *same += u32::from(agrees);
        }
    }
    let share = |n: u64| four_digits(n as f64 / decisions.max(1) as f64);
    let agreement = buckets
        .into_iter()
        .map(|(all, same)| (all > 0).then(|| four_digits(f64::from(same) / f64::from(all))));
    let ratings = shadow.ratings.filter(|sums| sums.decisions > 0).map(|sums| {
        let (n, predicted) = (sums.decisions as f64, sums.predicted as f64);
        RatedChoices {
            decisions: sums.decisions,
            differing: sums.differing,
            own_cost: sums.own_cost / n,
            live_cost: sums.live_cost / n,
            latency: (sums.predicted > 0)
                .then(|| (sums.own_latency / predicted, sums.live_latency / predicted)),
        }
    });
    ShadowFigures {
        policy: shadow.policy.clone(),
        decisions,
        agreed,
        shares: chosen.into_iter().map(share).collect(),
        live_shares: live.into_iter().map(share).collect(),
        agreement: agreement.collect(),
        ratings,
    }
}
