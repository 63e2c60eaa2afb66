//! An experiment: the same loads under each contender, with several seeds, as means with confidence intervals.

use crate::contender::Contender;
use crate::outcome::{SimulationOutcome, SimulationSummary};
use crate::scenario::Scenario;
use crate::workload::Workload;
use router_core::Slo;

/// One metric of a summary.
#[derive(Clone, Copy, Debug)]
pub struct SummaryMetric {
    /// Its name, with the unit.
    pub name: &'static str,
    /// Reads it from a summary.
    pub read: fn(&SimulationSummary) -> f64,
}

impl SummaryMetric {
    /// The metrics of a comparison, in its order.
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

/// A mean over seeds with its confidence interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MeanEstimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % confidence interval (Student's t); absent for a single seed.
    pub half_width: Option<f64>,
}

/// The results of one contender.
#[derive(Clone, PartialEq, Debug)]
pub struct ContenderResult {
    /// Its name.
    pub name: String,
    /// Each metric of [`SummaryMetric::ALL`].
    pub estimates: Vec<MeanEstimate>,
    /// For each metric the values of the seeds, in their order.
    pub values: Vec<Vec<f64>>,
    /// For each metric the ratio to the first contender, seed by seed; absent where the first contender has 0.
    pub ratios: Vec<Option<MeanEstimate>>,
    /// Mean share of the requests that each server completed, from 0 to 1.
    pub share: Vec<f64>,
    /// The same of the requests of each client alone, under the client's name, in the order of [`Workload::clients`]; empty where
    /// the load names none. The servers' imbalance is that of all clients.
    pub clients: Vec<Self>,
}

/// A finished run of an experiment.
#[derive(Clone, Copy, Debug)]
pub struct FinishedRun<'a> {
    /// The contender's index in the list.
    pub contender: usize,
    /// The seed.
    pub seed: u64,
    /// How many runs have finished, including this one.
    pub done: usize,
    /// Its outcome.
    pub outcome: &'a SimulationOutcome,
}

/// Observes an experiment while it runs, and can cancel it.
pub trait ExperimentObserver {
    /// Called after each run, with all its records.
    fn run_finished(&mut self, _run: FinishedRun<'_>) {}

    /// Whether to continue; called a few times per millisecond.
    fn should_continue(&mut self) -> bool {
        true
    }
}

/// Passes on how many runs are done.
struct RunCounter<'a>(&'a mut dyn FnMut(usize));

impl ExperimentObserver for RunCounter<'_> {
    fn run_finished(&mut self, run: FinishedRun<'_>) {
        (self.0)(run.done);
    }
}

/// The results of an experiment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ComparisonTable {
    /// One row per contender, in their order.
    pub rows: Vec<ContenderResult>,
    /// How many seeds each contender ran with.
    pub seeds: usize,
}

/// The conditions that are equal for all contenders.
#[derive(Debug)]
pub struct Experiment<'a> {
    /// The fleet, the routers and the incidents.
    pub scenario: &'a Scenario,
    /// The seeds of the runs: each seeds the routers, and is passed to the function that makes the load.
    pub seeds: &'a [u64],
    /// The limits for goodput.
    pub slo: Slo,
}

impl Experiment<'_> {
    /// Runs all contenders with all seeds. `load` makes the load of a seed; `done` is called after each run with the
    /// number of finished runs.
    pub fn run(
        &self,
        contenders: &[Contender<'_>],
        load: &dyn Fn(u64) -> Workload,
        done: &mut dyn FnMut(usize),
    ) -> ComparisonTable {
        self.run_observed(contenders, load, &mut RunCounter(done)).unwrap_or_default()
    }

    /// Like [`run`](Self::run), but `observer` gets each run with all its records and can cancel the experiment; the
    /// result is then `None`.
    pub fn run_observed(
        &self,
        contenders: &[Contender<'_>],
        load: &dyn Fn(u64) -> Workload,
        observer: &mut dyn ExperimentObserver,
    ) -> Option<ComparisonTable> {
        let mut summaries: Vec<ContenderSummaries> =
            contenders.iter().map(|_| ContenderSummaries::default()).collect();
        let mut done = 0;
        for &seed in self.seeds {
            let load = load(seed);
            for (contender, (index, summaries)) in contenders.iter().zip(summaries.iter_mut().enumerate()) {
                let should_continue = &mut || observer.should_continue();
                let outcome = contender.run_while(self.scenario, &load, seed, should_continue)?;
                summaries.add(&outcome, &load, self.slo);
                done += 1;
                observer.run_finished(FinishedRun { contender: index, seed, done, outcome: &outcome });
            }
        }
        let rows = contenders.iter().zip(&summaries).map(|(contender, own)| {
            let first = summaries.first().unwrap_or(own);
            own.result(&contender.name, first)
        });
        Some(ComparisonTable { rows: rows.collect(), seeds: self.seeds.len() })
    }
}

/// The summaries of one contender.
#[derive(Default)]
struct ContenderSummaries {
    /// One for each seed.
    all: Vec<SimulationSummary>,
    /// The same for each client, with its name. The clients of the first seed are those of every seed.
    clients: Vec<(String, Vec<SimulationSummary>)>,
}

impl ContenderSummaries {
    fn add(&mut self, outcome: &SimulationOutcome, load: &Workload, slo: Slo) {
        self.all.push(outcome.summary_under(slo));
        if self.clients.is_empty() {
            self.clients = load.clients.iter().map(|client| (client.name.clone(), Vec::new())).collect();
        }
        for ((_, own), outcome) in self.clients.iter_mut().zip(outcome.by_client(load)) {
            own.push(outcome.summary_under(slo));
        }
    }

    fn result(&self, name: &str, first: &Self) -> ContenderResult {
        let clients = self.clients.iter().zip(&first.clients);
        let clients = clients.map(|((name, own), (_, first))| row(name, own, first)).collect();
        ContenderResult { clients, ..row(name, &self.all, &first.all) }
    }
}

/// The result of these summaries, without clients.
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
        clients: Vec::new(),
    }
}

pub(crate) fn estimate(values: &[f64]) -> MeanEstimate {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n.max(1.0);
    let half_width = (values.len() > 1).then(|| {
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        student_t(values.len() - 1) * (variance / n).sqrt()
    });
    MeanEstimate { mean, half_width }
}

/// The 97.5 % quantile of Student's t. Above ten degrees of freedom it is the Cornish-Fisher expansion, which is accurate
/// to three digits there.
fn student_t(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
    const Z: f64 = 1.959_964;
    let v = freedom as f64;
    let expansion =
        Z + (Z.powi(3) + Z) / (4.0 * v) + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * v * v);
    TABLE.get(freedom.wrapping_sub(1)).copied().unwrap_or(expansion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observer_cancels_within_a_run() {
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
        assert!(experiment.run_observed(&random, &load, &mut patient).is_some());
        let mut watch = Impatient(2);
        assert_eq!(experiment.run_observed(&random, &load, &mut watch), None);
        assert_eq!(watch.0, 0, "it is not called again");
    }

    #[test]
    fn clients_have_results_of_their_own() {
        let mix: crate::ClientMix = "long:share=1,input-len=50,output-len=400;\
                                     short:share=3,input-len=50,output-len=4"
            .parse()
            .unwrap();
        let scenario = Scenario::of("sglang_8b*2".parse().unwrap());
        let experiment = Experiment { scenario: &scenario, seeds: &[1, 2], slo: Slo::default() };
        let registry = router_core::Registry::builtin();
        let contenders = Contender::list("round_robin,least_request", &registry).unwrap();
        let load = |seed| crate::ArrivalProcess::poisson(5.0).clients(400, &mix, seed);
        let table = experiment.run(&contenders, &load, &mut |_| ());
        let mean = SummaryMetric::ALL.iter().position(|metric| metric.name == "e2e_mean_s").unwrap();
        for row in &table.rows {
            let names: Vec<_> = row.clients.iter().map(|client| client.name.as_str()).collect();
            assert_eq!(names, ["long", "short"]);
            let [all, long, short] =
                [row, &row.clients[0], &row.clients[1]].map(|of| of.estimates[mean].mean);
            assert!(short < all && all < long, "{short} {all} {long}");
            assert!(row.clients.iter().all(|client| client.values[mean].len() == 2));
        }
        let first = &table.rows[0].clients[1];
        assert_eq!(first.ratios[mean].map(|ratio| ratio.mean), Some(1.0), "ratios are to the same client");
    }

    #[test]
    fn intervals_follow_student_t() {
        let e = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(e.mean, 3.0);
        // 2.776 * sqrt(2.5 / 5)
        assert!((e.half_width.unwrap() - 1.963).abs() < 1e-3);
        assert_eq!(estimate(&[4.0]).half_width, None);
        assert!((student_t(30) - 2.042).abs() < 1e-3);
    }
}
