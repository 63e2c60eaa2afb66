//! Autoscalers beside each other: what they cost, and how many requests missed the SLO.

use crate::autoscaler::{AutoscaleMetric, AutoscaleRule, Autoscaler};
use crate::contender::Contender;
use crate::experiment::{MeanEstimate, estimate};
use crate::scenario::Scenario;
use crate::workload::Workload;

/// What one autoscaler came to, over the seeds.
#[derive(Clone, PartialEq, Debug)]
pub struct AutoscaleResult {
    /// What it followed.
    pub rule: AutoscaleRule,
    /// Hours of all workers, from when they were ordered until they were gone.
    pub worker_hours: MeanEstimate,
    /// The share of the requests that missed the SLO or failed, from 0 to 1.
    pub miss_share: MeanEstimate,
    /// Most workers at one time.
    pub most: MeanEstimate,
    /// Workers that were ordered.
    pub started: MeanEstimate,
}

/// Runs one load under several autoscalers.
#[derive(Debug)]
pub struct AutoscaleExperiment<'a> {
    /// The fleet at the beginning, and everything but the autoscaler.
    pub scenario: &'a Scenario,
    /// The autoscaler, whose rule is replaced.
    pub autoscaler: Autoscaler,
    /// What decides where requests go.
    pub policy: &'a Contender<'a>,
    /// The seeds.
    pub seeds: &'a [u64],
}

impl AutoscaleExperiment<'_> {
    /// The results of these rules, in their order; `load` makes the load of a seed, `done` hears how many runs are over.
    pub fn run(
        &self,
        rules: &[AutoscaleRule],
        load: &dyn Fn(u64) -> Workload,
        done: &mut dyn FnMut(usize),
    ) -> Vec<AutoscaleResult> {
        let mut values: Vec<[Vec<f64>; 4]> = rules.iter().map(|_| Default::default()).collect();
        let mut runs = 0;
        for &seed in self.seeds {
            let load = load(seed);
            for (rule, values) in rules.iter().zip(&mut values) {
                let autoscaler = Autoscaler { rule: *rule, ..self.autoscaler };
                let scenario = Scenario { autoscaler: Some(autoscaler), ..self.scenario.clone() };
                let outcome = self.policy.run(&scenario, &load, seed);
                values[0].push(outcome.workers.secs / 3600.0);
                values[1].push(outcome.miss_share(autoscaler.scaling.slo));
                values[2].push(outcome.workers.most as f64);
                values[3].push(outcome.workers.started as f64);
                runs += 1;
                done(runs);
            }
        }
        let result = |(rule, values): (&AutoscaleRule, &[Vec<f64>; 4])| {
            let [worker_hours, miss_share, most, started] = values.each_ref().map(|v| estimate(v));
            AutoscaleResult { rule: *rule, worker_hours, miss_share, most, started }
        };
        rules.iter().zip(&values).map(result).collect()
    }
}

/// Worker-hours of two metrics at the same share of misses.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EqualMissComparison {
    /// The metric that is compared with the first one.
    pub metric: AutoscaleMetric,
    /// The share of misses.
    pub miss_share: f64,
    /// Worker-hours with the first metric of the list at that share.
    pub first_hours: f64,
    /// Worker-hours with `metric` at that share.
    pub hours: f64,
}

/// Compares each metric with that of the first result, at each share of misses that one of the two reached with some target, as far as
/// the other has targets on both sides of it. Between two targets the logarithm of the share is drawn straight over the hours;
/// only targets count that no other target of the metric beats in both.
pub fn at_equal_misses(results: &[AutoscaleResult]) -> Vec<EqualMissComparison> {
    let Some(first) = results.first().map(|result| result.rule.metric) else { return Vec::new() };
    let own = Frontier::of(results, first);
    let others = AutoscaleMetric::ALL.into_iter().filter(|metric| *metric != first);
    let compare = |metric| {
        let other = Frontier::of(results, metric);
        let mut shares: Vec<f64> = own.0.iter().chain(&other.0).map(|point| point.log_share).collect();
        shares.sort_by(f64::total_cmp);
        let at = |log_share: f64| {
            Some(EqualMissComparison {
                metric,
                miss_share: log_share.exp(),
                first_hours: own.hours(log_share)?,
                hours: other.hours(log_share)?,
            })
        };
        shares.into_iter().filter_map(at).collect::<Vec<_>>()
    };
    others.flat_map(compare).collect()
}

#[derive(Clone, Copy, Debug)]
struct FrontierPoint {
    log_share: f64,
    hours: f64,
}

/// What a metric reaches with some target, by rising share of misses and falling hours.
#[derive(Debug)]
struct Frontier(Vec<FrontierPoint>);

impl Frontier {
    fn of(results: &[AutoscaleResult], metric: AutoscaleMetric) -> Self {
        let of_metric = results.iter().filter(|result| result.rule.metric == metric);
        let mut all: Vec<FrontierPoint> = of_metric
            .map(|result| FrontierPoint {
                log_share: result.miss_share.mean.max(1e-6).ln(),
                hours: result.worker_hours.mean,
            })
            .collect();
        all.sort_by(|a, b| a.log_share.total_cmp(&b.log_share).then(a.hours.total_cmp(&b.hours)));
        let mut least = f64::INFINITY;
        all.retain(|point| {
            let is_better = point.hours < least;
            least = least.min(point.hours);
            is_better
        });
        Self(all)
    }

    /// Hours at a share of misses; absent outside of what was reached.
    fn hours(&self, log_share: f64) -> Option<f64> {
        let after = self.0.iter().position(|point| point.log_share >= log_share)?;
        let right = self.0[after];
        let Some(left) = after.checked_sub(1).map(|before| self.0[before]) else {
            return (right.log_share == log_share).then_some(right.hours);
        };
        let part = (log_share - left.log_share) / (right.log_share - left.log_share);
        Some(left.hours + part * (right.hours - left.hours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(rule: &str, hours: f64, share: f64) -> AutoscaleResult {
        let of = |mean| MeanEstimate { mean, half_width: None };
        AutoscaleResult {
            rule: rule.parse().unwrap(),
            worker_hours: of(hours),
            miss_share: of(share),
            most: of(1.0),
            started: of(1.0),
        }
    }

    #[test]
    fn hours_are_compared_at_the_same_share() {
        let results = [
            result("signal:1", 10.0, 0.01),
            result("queue:1", 20.0, 0.001),
            result("queue:4", 15.0, 0.1),
            result("queue:9", 30.0, 0.05),
        ];
        let compared = at_equal_misses(&results);
        assert_eq!(compared.len(), 1);
        // A hundredth lies half way between a thousandth and a tenth; the target that cost more for more misses does not count.
        assert!((compared[0].hours - 17.5).abs() < 1e-9 && compared[0].first_hours == 10.0);
    }

    #[test]
    fn shares_that_one_never_reached_are_not_compared() {
        assert_eq!(at_equal_misses(&[result("signal:1", 10.0, 0.01), result("queue:1", 20.0, 0.2)]), []);
    }
}
