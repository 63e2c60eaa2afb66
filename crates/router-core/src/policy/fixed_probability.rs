//! `fixed_probability`: at random, with a fixed probability per worker.

use super::InvalidOption;
use super::sample::by_weight;
use crate::{
    Decision, DecisionContext, Event, Policy, Reason, ScoreTerms, SlotMap, Time, WorkerId, WorkerInfo,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far from 1 the sum of the probabilities may be, for the sake of values like 0.333333.
const SUM_TOLERANCE: f64 = 1e-6;

/// Probabilities as configured.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a table of worker URL to probability, or a list of probabilities")]
pub enum Probabilities {
    /// By worker URL; a slash at the end makes no difference. A worker that is not named gets nothing.
    ByUrl(BTreeMap<String, f64>),
    /// In the order in which the workers are configured. A worker that takes the place of one that left takes its
    /// probability too; a worker beyond the end of the list gets nothing.
    InOrder(Vec<f64>),
}

/// The options of [`FixedProbability`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixedProbabilityConfig {
    /// The probability of each worker, 0 to 1, with the sum 1. Default: none, then the workers' own
    /// [`weight`](WorkerInfo::weight)s count.
    pub probabilities: Option<Probabilities>,
}

impl FixedProbabilityConfig {
    fn check(&self) -> Result<(), InvalidOption> {
        let invalid = |message| Err(InvalidOption { option: "probabilities", message });
        let values: Vec<(String, f64)> = match &self.probabilities {
            None => return Ok(()),
            Some(Probabilities::ByUrl(map)) => map.iter().map(|(url, p)| (url.clone(), *p)).collect(),
            Some(Probabilities::InOrder(list)) => {
                list.iter().enumerate().map(|(i, p)| (format!("entry {i}"), *p)).collect()
            }
        };
        if let Some((whose, p)) = values.iter().find(|(_, p)| !p.is_finite() || *p < 0.0) {
            return invalid(format!("must not be negative or infinite, but {whose} has {p}"));
        }
        let sum: f64 = values.iter().map(|(_, p)| p).sum();
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return invalid(format!("must sum to 1, but sum to {sum}"));
        }
        Ok(())
    }

    fn weight(&self, worker: WorkerId, info: &WorkerInfo) -> f64 {
        let weight = match &self.probabilities {
            None => info.weight,
            Some(Probabilities::InOrder(list)) => list.get(worker.slot()).copied().unwrap_or(0.0),
            Some(Probabilities::ByUrl(map)) => {
                let url = info.url.trim_end_matches('/');
                map.iter().find(|(key, _)| key.trim_end_matches('/') == url).map_or(0.0, |(_, p)| *p)
            }
        };
        // The upper bound keeps the sum over any fleet finite.
        if weight.is_finite() { weight.clamp(0.0, 1e12) } else { 0.0 }
    }
}

/// Draws a worker by its weight; weights are relative to the sum over the present candidates.
///
/// When all of them are zero, all candidates are alike and the reason is [`Reason::Fallback`].
#[derive(Debug)]
pub struct FixedProbability {
    config: FixedProbabilityConfig,
    weights: SlotMap<f64>,
    /// No weight is or was higher.
    most: f64,
}

impl FixedProbability {
    /// A policy with these options.
    ///
    /// # Errors
    /// A negative probability, or a sum that is not 1.
    pub fn new(config: FixedProbabilityConfig) -> Result<Self, InvalidOption> {
        config.check()?;
        Ok(Self { config, weights: SlotMap::default(), most: 0.0 })
    }

    fn weight(&self, id: WorkerId) -> f64 {
        self.weights.get(id).copied().unwrap_or(0.0)
    }

    fn explain(&self, cx: &mut DecisionContext<'_>) {
        if cx.scores.is_none() {
            return;
        }
        let total: f64 = cx.candidates.ids().iter().map(|&id| self.weight(id)).sum();
        for &id in cx.candidates.ids() {
            let weight = self.weight(id);
            let share = if total > 0.0 { weight / total } else { 1.0 / cx.candidates.len() as f64 };
            cx.explain(id, 1.0 - share, || ScoreTerms::new([("weight", weight), ("probability", share)]));
        }
    }
}

impl Policy for FixedProbability {
    fn name(&self) -> &'static str {
        "fixed_probability"
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let ids = cx.candidates.ids();
        self.explain(&mut cx);
        let chosen = by_weight(cx.candidates, cx.rng, self.most, |id| self.weight(id));
        let only = ids.len() == 1;
        match chosen {
            Some(id) => Decision::plain(id, if only { Reason::OnlyCandidate } else { Reason::Sampled }),
            None => {
                let id = cx.candidates.id(cx.rng.below(ids.len()));
                Decision::plain(id, if only { Reason::OnlyCandidate } else { Reason::Fallback })
            }
        }
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } | Event::Changed { worker, info } => {
                let weight = self.config.weight(*worker, info);
                self.weights.insert(*worker, weight);
                self.most = self.most.max(weight);
            }
            Event::Left(worker) => drop(self.weights.remove(*worker)),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{Balancer, FleetUpdate};

    fn by_url(entries: &[(&str, f64)]) -> FixedProbabilityConfig {
        let map = entries.iter().map(|(url, p)| ((*url).to_owned(), *p)).collect();
        FixedProbabilityConfig { probabilities: Some(Probabilities::ByUrl(map)) }
    }

    fn counts(bench: &mut TestBench, n: usize) -> Vec<usize> {
        let chosen = bench.send_many(n);
        (0..bench.ids.len()).map(|w| chosen.iter().filter(|&&c| c == w).count()).collect()
    }

    #[test]
    fn probabilities_are_renormalised_over_present_workers() {
        let config = by_url(&[("http://worker-0/", 0.5), ("http://worker-1", 0.3), ("http://worker-2", 0.2)]);
        let mut bench = TestBench::new(Box::new(FixedProbability::new(config).unwrap()), 3);
        let shares = counts(&mut bench, 10_000);
        assert!((4800..5200).contains(&shares[0]) && (2800..3200).contains(&shares[1]), "{shares:?}");
        bench.balancer.apply(Time::ZERO, FleetUpdate::Routable(bench.ids[0], false));
        let shares = counts(&mut bench, 10_000);
        assert!(shares[0] == 0 && (5800..6200).contains(&shares[1]), "{shares:?}");
    }

    #[test]
    fn list_follows_worker_order() {
        let config = FixedProbabilityConfig { probabilities: Some(Probabilities::InOrder(vec![0.0, 1.0])) };
        let mut bench = TestBench::new(Box::new(FixedProbability::new(config).unwrap()), 3);
        assert_eq!(counts(&mut bench, 100), [0, 100, 0]);
    }

    #[test]
    fn worker_weights_are_the_default() {
        let policy = FixedProbability::new(FixedProbabilityConfig::default()).unwrap();
        let mut balancer = Balancer::new(Box::new(policy), 1);
        for weight in [3.0, 1.0, f64::NAN, -2.0] {
            balancer.join(Time::ZERO, WorkerInfo { weight, ..WorkerInfo::new("http://a") });
        }
        let mut bench = TestBench::new(Box::new(super::super::Random), 4);
        bench.balancer = balancer;
        let shares = counts(&mut bench, 10_000);
        assert!((7300..7700).contains(&shares[0]), "{shares:?}");
        assert_eq!(shares[2..], [0, 0]);
    }

    #[test]
    fn zero_weights_fall_back_to_uniform() {
        let config = by_url(&[("http://elsewhere", 1.0)]);
        let mut bench = TestBench::new(Box::new(FixedProbability::new(config).unwrap()), 2);
        let shares = counts(&mut bench, 1000);
        assert!((430..570).contains(&shares[0]), "{shares:?}");
        assert_eq!(bench.last_reason(), Reason::Fallback);
    }

    #[test]
    fn bad_probabilities_are_named() {
        let message = |config: FixedProbabilityConfig| FixedProbability::new(config).unwrap_err().to_string();
        let sum = message(by_url(&[("http://a", 0.5), ("http://b", 0.25)]));
        assert_eq!(sum, "`probabilities` must sum to 1, but sum to 0.75");
        let negative = message(by_url(&[("http://a", -0.5), ("http://b", 1.5)]));
        assert_eq!(negative, "`probabilities` must not be negative or infinite, but http://a has -0.5");
        let list = Probabilities::InOrder(vec![1.0, f64::NAN]);
        let nan = message(FixedProbabilityConfig { probabilities: Some(list) });
        assert_eq!(nan, "`probabilities` must not be negative or infinite, but entry 1 has NaN");
        assert!(FixedProbability::new(by_url(&[("a", 0.333_333_4), ("b", 0.666_666_7)])).is_ok());
    }
}
