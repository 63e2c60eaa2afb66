//! Policies side by side: the same loads through each, several seeds, means with intervals.

use crate::contender::Contender;
use crate::outcome::{SimulationOutcome, SimulationSummary, Slo};
use crate::scenario::Scenario;
use crate::workload::Workload;

/// One figure of a summary.
#[derive(Clone, Copy, Debug)]
pub struct SummaryMetric {
    /// Its name, with the unit.
    pub name: &'static str,
    /// How it is read.
    pub read: fn(&SimulationSummary) -> f64,
}

impl SummaryMetric {
    /// The figures of a table, in its order.
    pub const ALL: [Self; 16] = [
        Self { name: "e2e_mean_s", read: |s| s.e2e.mean },
        Self { name: "e2e_p50_s", read: |s| s.e2e.p50 },
        Self { name: "e2e_p90_s", read: |s| s.e2e.p90 },
        Self { name: "e2e_p99_s", read: |s| s.e2e.p99 },
        Self { name: "ttft_mean_s", read: |s| s.ttft.mean },
        Self { name: "ttft_p50_s", read: |s| s.ttft.p50 },
        Self { name: "ttft_p90_s", read: |s| s.ttft.p90 },
        Self { name: "ttft_p99_s", read: |s| s.ttft.p99 },
        Self { name: "tpot_mean_s", read: |s| s.tpot.mean },
        Self { name: "tpot_p50_s", read: |s| s.tpot.p50 },
        Self { name: "tpot_p90_s", read: |s| s.tpot.p90 },
        Self { name: "tpot_p99_s", read: |s| s.tpot.p99 },
        Self { name: "goodput_per_s", read: |s| s.goodput },
        Self { name: "prefix_hits", read: |s| s.prefix_hits },
        Self { name: "imbalance", read: |s| s.imbalance },
        Self { name: "failed", read: |s| s.failed as f64 },
    ];
}

/// A mean over seeds and how far off it may be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MeanEstimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval (Student's t); absent for a single seed.
    pub half_width: Option<f64>,
}

/// One contender's row.
#[derive(Clone, PartialEq, Debug)]
pub struct ContenderResult {
    /// Its name.
    pub name: String,
    /// Each measure of [`SummaryMetric::ALL`].
    pub estimates: Vec<MeanEstimate>,
    /// Each measure of each seed, in the order of the seeds.
    pub values: Vec<Vec<f64>>,
    /// Each measure over that of the first contender, seed by seed; absent where the first has 0.
    pub ratios: Vec<Option<MeanEstimate>>,
    /// Mean share of the requests that each server answered.
    pub share: Vec<f64>,
}

/// One run of an experiment that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRun<'a> {
    /// The contender's place in the list.
    pub contender: usize,
    /// The seed.
    pub seed: u64,
    /// How many runs have ended, this one included.
    pub done: usize,
    /// What came of it.
    pub outcome: &'a SimulationOutcome,
}

/// Looks on while an experiment runs.
pub trait ExperimentObserver {
    /// A run has ended; this is what came of it, with all its records.
    fn run_finished(&mut self, _run: FinishedRun<'_>) {}

    /// Whether to go on; asked some times in a millisecond.
    fn should_continue(&mut self) -> bool {
        true
    }
}

/// Hears how many runs are done.
struct RunCounter<'a>(&'a mut dyn FnMut(usize));

impl ExperimentObserver for RunCounter<'_> {
    fn run_finished(&mut self, run: FinishedRun<'_>) {
        (self.0)(run.done);
    }
}

/// What an experiment found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ComparisonTable {
    /// One per contender, in their order.
    pub rows: Vec<ContenderResult>,
    /// How many seeds each ran with.
    pub seeds: usize,
}

/// Everything that is the same for all contenders.
#[derive(Debug)]
pub struct Experiment<'a> {
    /// The installation.
    pub scenario: &'a Scenario,
    /// The seeds of the runs: each is the chance of the routers, and may shape the load.
    pub seeds: &'a [u64],
    /// What goodput is counted under.
    pub slo: Slo,
}

impl Experiment<'_> {
    /// Runs all contenders with all seeds. `load` makes the load of a seed; `done` is told after each run how many are
    /// done.
    pub fn run(
        &self,
        contenders: &[Contender<'_>],
        load: &dyn Fn(u64) -> Workload,
        done: &mut dyn FnMut(usize),
    ) -> ComparisonTable {
        self.run_watched(contenders, load, &mut RunCounter(done)).unwrap_or_default()
    }

    /// As [`run`](Self::run), but `watch` is shown each run with all its records, and may stop it: then there is
    /// nothing to tell.
    pub fn run_watched(
        &self,
        contenders: &[Contender<'_>],
        load: &dyn Fn(u64) -> Workload,
        watch: &mut dyn ExperimentObserver,
    ) -> Option<ComparisonTable> {
        let mut summaries: Vec<Vec<SimulationSummary>> = contenders.iter().map(|_| Vec::new()).collect();
        let mut done = 0;
        for &seed in self.seeds {
            let load = load(seed);
            for (contender, (at, summaries)) in contenders.iter().zip(summaries.iter_mut().enumerate()) {
                let stage = (self.scenario, &load);
                let outcome = contender.run_while(stage, seed, &mut || watch.should_continue())?;
                summaries.push(outcome.summary_under(self.slo));
                done += 1;
                watch.run_finished(FinishedRun { contender: at, seed, done, outcome: &outcome });
            }
        }
        let first = summaries.first().cloned().unwrap_or_default();
        let rows = contenders.iter().zip(&summaries).map(|(c, own)| row(&c.name, own, &first)).collect();
        Some(ComparisonTable { rows, seeds: self.seeds.len() })
    }
}

fn row(name: &str, own: &[SimulationSummary], first: &[SimulationSummary]) -> ContenderResult {
    let read = |m: &SummaryMetric, of: &[SimulationSummary]| of.iter().map(m.read).collect::<Vec<f64>>();
    let values: Vec<Vec<f64>> = SummaryMetric::ALL.iter().map(|m| read(m, own)).collect();
    let ratio = |m: &SummaryMetric| {
        let base = read(m, first);
        let ratios: Vec<f64> = read(m, own).iter().zip(&base).map(|(a, b)| a / b).collect();
        base.iter().all(|b| *b != 0.0).then(|| estimate(&ratios))
    };
    let servers = own.iter().map(|s| s.share.len()).min().unwrap_or(0);
    let mean_share = |i: usize| own.iter().map(|s| s.share[i]).sum::<f64>() / own.len() as f64;
    ContenderResult {
        name: name.to_owned(),
        estimates: values.iter().map(|values| estimate(values)).collect(),
        values,
        ratios: SummaryMetric::ALL.iter().map(ratio).collect(),
        share: (0..servers).map(mean_share).collect(),
    }
}

fn estimate(values: &[f64]) -> MeanEstimate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let half_width = (values.len() > 1).then(|| {
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        student_t(values.len() - 1) * (variance / n).sqrt()
    });
    MeanEstimate { mean, half_width }
}

/// The 97.5 % quantile of Student's t; beyond ten degrees of freedom by Cornish and Fisher's expansion, which is then
/// right to three digits.
fn student_t(freedom: usize) -> f64 {
    const FEW: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    const Z: f64 = 1.959_964;
    let v = freedom as f64;
    let beyond =
        Z + (Z.powi(3) + Z) / (4.0 * v) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * v * v);
    FEW.get(freedom.wrapping_sub(1)).copied().unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_on_may_stop_it_in_the_middle_of_a_run() {
        struct Impatient(u32);
        impl ExperimentObserver for Impatient {
            fn should_continue(&mut self) -> bool {
                self.0 -= 1;
                self.0 > 0
            }
        }
        let scenario = Scenario::of("t4".parse().unwrap());
        let experiment = Experiment { scenario: &scenario, seeds: &[1], slo: Slo::default() };
        let random = [Contender::new("random", || Box::new(router_core::policy::Random))];
        let load = |_| {
            let requests =
                (0..2000).map(|i| crate::SimulatedRequest::at(router_core::Time::from_nanos(i), 9, 9));
            Workload::new(requests.collect())
        };
        let mut patient = Impatient(u32::MAX);
        assert!(experiment.run_watched(&random, &load, &mut patient).is_some());
        let mut watch = Impatient(2);
        assert_eq!(experiment.run_watched(&random, &load, &mut watch), None);
        assert_eq!(watch.0, 0, "and is not asked again");
    }

    #[test]
    fn intervals_are_those_of_student() {
        let e = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(e.mean, 3.0);
        // 2.776 * sqrt(2.5 / 5)
        assert!((e.half_width.unwrap() - 1.963).abs() < 1e-3);
        assert_eq!(estimate(&[4.0]).half_width, None);
        assert!((student_t(30) - 2.042).abs() < 1e-3);
    }
}
