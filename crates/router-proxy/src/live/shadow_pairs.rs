//! What shadow policies would have done to the latency, by the model of a policy that predicts it.
//!
//! Each explained decision tells what the live policy's choice and the shadow's were predicted to take at that moment. How the
//! fleet would have been loaded if the shadow had decided before is not known, so this is what one request would have gained.
//! Neighbours are alike, so the uncertainty comes from blocks of them: a bootstrap with a fixed seed.

use router_core::{CandidateScore, Rng, WorkerId};
use router_live::{Estimate, ShadowRow};
use router_telemetry::LiveChoice;
use std::collections::VecDeque;

/// The term of a cost by which a policy tells the predicted duration of the request.
const LATENCY: &str = "own_latency";
/// Most pairs that are kept.
const MOST_PAIRS: usize = 2000;
/// From fewer pairs no mean is told.
const FEWEST_PAIRS: usize = 40;
/// From fewer pairs no 99th percentile is told.
const FEWEST_FOR_P99: usize = 400;
/// Blocks of neighbours that are drawn.
const BLOCKS: usize = 20;
/// Draws of the bootstrap.
const DRAWS: usize = 100;

/// One shadow policy of one balancer.
#[derive(Debug)]
pub(super) struct ShadowPairs {
    policy: Box<str>,
    decisions: u64,
    agreed: u64,
    /// What the live policy's choice and the shadow's were predicted to take.
    pairs: VecDeque<(f64, f64)>,
}

/// The shadows of one balancer, as they were last seen in a decision.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    all: Vec<ShadowPairs>,
}

impl Shadows {
    /// Takes note of a decision.
    pub(super) fn decided(&mut self, choice: &LiveChoice) {
        self.all.retain(|shadow| choice.shadows.iter().any(|other| other.policy == shadow.policy));
        let tables =
            || std::iter::once(&choice.scores).chain(choice.shadows.iter().map(|shadow| &shadow.scores));
        for shadow in &choice.shadows {
            let (live, other) = (choice.decision.worker, shadow.decision.worker);
            let pair =
                tables().find_map(|scores| Some((predicted(scores, live)?, predicted(scores, other)?)));
            let known = match self.all.iter().position(|known| known.policy == shadow.policy) {
                Some(at) => &mut self.all[at],
                None => {
                    self.all.push(ShadowPairs::new(&shadow.policy));
                    let last = self.all.len() - 1;
                    &mut self.all[last]
                }
            };
            known.add(live == other, pair);
        }
    }

    /// A row for each shadow.
    pub(super) fn rows(&self, model: Option<&str>) -> impl Iterator<Item = ShadowRow> {
        self.all.iter().map(move |shadow| shadow.row(model))
    }
}

fn predicted(scores: &[CandidateScore], worker: WorkerId) -> Option<f64> {
    let score = scores.iter().find(|score| score.worker == worker)?;
    score.terms.get(LATENCY).filter(|secs| *secs > 0.0 && secs.is_finite())
}

impl ShadowPairs {
    fn new(policy: &str) -> Self {
        Self { policy: policy.into(), decisions: 0, agreed: 0, pairs: VecDeque::new() }
    }

    fn add(&mut self, agrees: bool, pair: Option<(f64, f64)>) {
        self.decisions += 1;
        self.agreed += u64::from(agrees);
        if let Some(pair) = pair {
            if self.pairs.len() == MOST_PAIRS {
                self.pairs.pop_front();
            }
            self.pairs.push_back(pair);
        }
    }

    fn row(&self, model: Option<&str>) -> ShadowRow {
        let pairs: Vec<_> = self.pairs.iter().copied().collect();
        let estimate =
            |fewest, of: fn(&mut [(f64, f64)]) -> f64| (pairs.len() >= fewest).then(|| bootstrap(&pairs, of));
        ShadowRow {
            policy: self.policy.to_string(),
            model: model.map(str::to_owned),
            decisions: self.decisions,
            agreement: (self.decisions > 0)
                .then(|| super::window::rounded(self.agreed as f64 / self.decisions as f64)),
            predicted: pairs.len() as u64,
            mean: estimate(FEWEST_PAIRS, ratio_of_means),
            p99: estimate(FEWEST_FOR_P99, ratio_of_p99),
        }
    }
}

fn ratio_of_means(pairs: &mut [(f64, f64)]) -> f64 {
    let (live, shadow) = pairs.iter().fold((0.0, 0.0), |(a, b), (live, shadow)| (a + live, b + shadow));
    shadow / live - 1.0
}

fn ratio_of_p99(pairs: &mut [(f64, f64)]) -> f64 {
    let at = (pairs.len() * 99 / 100).min(pairs.len() - 1);
    let live = pairs.select_nth_unstable_by(at, |a, b| a.0.total_cmp(&b.0)).1.0;
    let shadow = pairs.select_nth_unstable_by(at, |a, b| a.1.total_cmp(&b.1)).1.1;
    shadow / live - 1.0
}

/// A figure of the pairs, with the interval that 95 of 100 draws of blocks are within.
fn bootstrap(pairs: &[(f64, f64)], of: fn(&mut [(f64, f64)]) -> f64) -> Estimate {
    let mut rng = Rng::seeded(pairs.len() as u64);
    let length = pairs.len().div_ceil(BLOCKS);
    let blocks: Vec<_> = pairs.chunks(length).collect();
    let mut figures: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let mut drawn: Vec<_> =
                (0..blocks.len()).flat_map(|_| blocks[rng.below(blocks.len())]).copied().collect();
            of(&mut drawn)
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    let round = |value: f64| (value * 1e4).round() / 1e4;
    let ends = (figures[DRAWS / 40], figures[DRAWS - 1 - DRAWS / 40]);
    let value = of(&mut pairs.to_vec());
    Estimate { value: round(value), low: round(ends.0.min(value)), high: round(ends.1.max(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow(pairs: impl Iterator<Item = (f64, f64)>) -> ShadowRow {
        let mut shadow = ShadowPairs::new("other");
        pairs.for_each(|pair| shadow.add(pair.0 == pair.1, Some(pair)));
        shadow.row(None)
    }

    #[test]
    fn gain_is_told_with_its_uncertainty() {
        let mut rng = Rng::seeded(3);
        let noisy: Vec<_> = (0..1000)
            .map(|_| {
                let live = 1.0 + rng.below(1000) as f64 / 1000.0;
                (live, 0.8 * live)
            })
            .collect();
        let row = shadow(noisy.into_iter());
        let mean = row.mean.unwrap();
        assert!((mean.value + 0.2).abs() < 1e-3 && mean.low <= mean.value && mean.value <= mean.high);
        assert!((row.p99.unwrap().value + 0.2).abs() < 1e-3);
        assert_eq!((row.decisions, row.agreement), (1000, Some(0.0)));
    }

    #[test]
    fn few_pairs_tell_nothing() {
        let row = shadow((0..39).map(|_| (1.0, 1.0)));
        assert_eq!((row.mean, row.p99, row.agreement), (None, None, Some(1.0)));
        assert_eq!(shadow((0..100).map(|_| (1.0, 1.0))).p99, None);
    }

    #[test]
    fn one_that_is_sometimes_better_is_uncertain() {
        let row = shadow((0..400).map(|n| (1.0, if n / 20 % 2 == 0 { 0.5 } else { 1.5 })));
        let mean = row.mean.unwrap();
        assert!(mean.low < -0.05 && mean.high > 0.05, "{mean:?}");
    }
}
