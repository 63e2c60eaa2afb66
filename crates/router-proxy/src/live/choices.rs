//! Decisions as viewers see them.

use super::window::rounded;
use router_core::{CandidateScore, WorkerId};
use router_live::{CandidateCost, CostTerm, DecisionRow, ShadowChoice};
use router_telemetry::{Clock, LiveChoice};
use router_upstream::WorkerPool;

/// Most candidates of one decision that are shown.
const MOST_COSTS: usize = 8;

/// A decision; `None` when the chosen worker has left since.
pub(super) fn row(choice: &LiveChoice, pool: &WorkerPool, clock: Clock) -> Option<DecisionRow> {
    let name = |id: WorkerId| Some(pool.candidates.get(id)?.telemetry.name.to_string());
    Some(DecisionRow {
        at: clock.unix(choice.at).as_secs_f64(),
        request_id: choice.request_id.clone(),
        attempt: choice.attempt,
        leg: choice.leg.as_str().to_owned(),
        policy: pool.telemetry.metrics.policy().to_string(),
        model: pool.model.name().map(|model| model.to_string()),
        route: choice.route.as_str().to_owned(),
        worker: name(choice.decision.worker)?,
        reason: choice.decision.reason.as_str().to_owned(),
        candidates: choice.candidates,
        prompt_bytes: choice.prompt_bytes,
        costs: costs(&choice.scores, choice.decision.worker, name),
        shadows: choice
            .shadows
            .iter()
            .filter_map(|shadow| {
                Some(ShadowChoice {
                    policy: shadow.policy.to_string(),
                    worker: name(shadow.decision.worker)?,
                })
            })
            .collect(),
    })
}

/// The cheapest candidates, and the chosen one.
fn costs(
    scores: &[CandidateScore],
    chosen: WorkerId,
    name: impl Fn(WorkerId) -> Option<String>,
) -> Vec<CandidateCost> {
    let mut sorted: Vec<_> = scores.iter().collect();
    sorted.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    let place = sorted.iter().position(|score| score.worker == chosen);
    if let Some(place) = place.filter(|place| *place >= MOST_COSTS) {
        sorted.swap(place, MOST_COSTS - 1);
    }
    sorted.truncate(MOST_COSTS);
    let cost = |score: &CandidateScore| {
        let terms = score.terms.as_slice().iter();
        Some(CandidateCost {
            worker: name(score.worker)?,
            cost: rounded(score.cost),
            terms: terms
                .map(|term| CostTerm { name: term.name.to_owned(), value: rounded(term.value) })
                .collect(),
        })
    };
    sorted.into_iter().filter_map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_core::{Balancer, ScoreTerms, Time, WorkerInfo, policy::Random};

    #[test]
    fn chosen_worker_is_shown_among_the_cheapest() {
        let mut balancer = Balancer::new(Box::new(Random), 1);
        let ids: Vec<_> = (0..20).map(|_| balancer.join(Time::ZERO, WorkerInfo::new("w"))).collect();
        let scores: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| CandidateScore {
                worker: *id,
                cost: n as f64,
                terms: ScoreTerms::new([("n", 1.0)]),
            })
            .collect();
        let shown = |chosen: usize| {
            let costs = costs(&scores, ids[chosen], |id| Some(id.slot().to_string()));
            costs.into_iter().map(|cost| cost.worker).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(0), "0 1 2 3 4 5 6 7");
        assert_eq!(shown(19), "0 1 2 3 4 5 6 19");
    }
}
