//! `marginal_utility`: the classic rule of the best recent performance gradient, unchanged.
//!
//! Known to herd between two completions and to mix units (docs/policies/marginal_utility.md). It is kept as a baseline
//! for comparisons.

use super::InvalidOption;
use crate::fleet::Candidates;
use crate::window::{GradientWindow, Gradients, WindowSample};
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Event, Outcome, Policy, Reason, ScoreTerms, SlotMap, Time};
use serde::{Deserialize, Serialize};

/// Most samples per worker that [`MarginalUtilityConfig::window_size`] allows.
const MAX_WINDOW: usize = 100_000;

/// The options of [`MarginalUtility`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarginalUtilityConfig {
    /// How many completions per worker are looked at. Default 20; from `min_history_for_trend` to 100000.
    pub window_size: usize,
    /// With fewer completions than this a worker is judged by its load. Default 10; 2 and more.
    pub min_history_for_trend: usize,
    /// Weight of the throughput gradient (tokens per second per second). Default 0.6; 0 and more.
    pub throughput_weight: f64,
    /// Weight of the latency gradient (seconds per second). Default 0.4; 0 and more.
    pub latency_weight: f64,
    /// Turn both gradients into z-scores across the candidates that have a trend before weighting them, so that
    /// their units no longer matter. Default false.
    pub normalize: bool,
}

impl Default for MarginalUtilityConfig {
    fn default() -> Self {
        Self {
            window_size: 20,
            min_history_for_trend: 10,
            throughput_weight: 0.6,
            latency_weight: 0.4,
            normalize: false,
        }
    }
}

impl MarginalUtilityConfig {
    fn check(&self) -> Result<(), InvalidOption> {
        if self.min_history_for_trend < 2 {
            // A trend needs two halves with something in each.
            return Err(InvalidOption::must(
                "min_history_for_trend",
                "2 or more",
                self.min_history_for_trend,
            ));
        }
        if !(self.min_history_for_trend..=MAX_WINDOW).contains(&self.window_size) {
            let must = format!("from min_history_for_trend ({}) to {MAX_WINDOW}", self.min_history_for_trend);
            return Err(InvalidOption::must("window_size", &must, self.window_size));
        }
        for (option, weight) in
            [("throughput_weight", self.throughput_weight), ("latency_weight", self.latency_weight)]
        {
            // The upper bound keeps every score finite, whatever the gradients.
            if !(0.0..=1e9).contains(&weight) {
                return Err(InvalidOption::must(option, "from 0 to 1e9", weight));
            }
        }
        Ok(())
    }
}

/// What is remembered of one worker.
#[derive(Debug)]
struct WorkerHistory {
    window: GradientWindow,
    /// Gradients of the window as it stands; absent while it is too short for a trend.
    trend: Option<Gradients>,
    /// Whether a request was ever sent to it.
    used: bool,
}

/// Mean and spread by which gradients are turned into z-scores.
#[derive(Clone, Copy, Debug)]
struct GradientScale {
    mean: Gradients,
    std: Gradients,
}

impl GradientScale {
    /// Changes nothing.
    const IDENTITY: Self = Self {
        mean: Gradients { throughput: 0.0, latency: 0.0 },
        std: Gradients { throughput: 1.0, latency: 1.0 },
    };

    /// The z-score scale of these trends: population standard deviation, 0 counting as 1.
    fn across(trends: impl Iterator<Item = Gradients> + Clone) -> Self {
        let n = (trends.clone().count().max(1)) as f64;
        let (t, l) = trends.clone().fold((0.0, 0.0), |(t, l), g| (t + g.throughput, l + g.latency));
        let mean = Gradients { throughput: t / n, latency: l / n };
        let (t, l) = trends.fold((0.0, 0.0), |(t, l), g| {
            let (dt, dl) = (g.throughput - mean.throughput, g.latency - mean.latency);
            (t + dt * dt, l + dl * dl)
        });
        let std = |variance: f64| if variance > 0.0 { variance.sqrt() } else { 1.0 };
        Self { mean, std: Gradients { throughput: std(t / n), latency: std(l / n) } }
    }

    fn apply(&self, g: Gradients) -> Gradients {
        Gradients {
            throughput: (g.throughput - self.mean.throughput) / self.std.throughput,
            latency: (g.latency - self.mean.latency) / self.std.latency,
        }
    }
}

/// Scores each worker by how its throughput and latency moved between the older and the newer half of its last
/// completions; the highest score wins, ties are broken at random (docs/policies/marginal_utility.md).
///
/// A worker without a trend scores minus its requests in flight. Only successful completions with a known number
/// of generated tokens enter the window: nothing else says how fast a worker delivers. The cost is minus the score.
#[derive(Debug)]
pub struct MarginalUtility {
    name: &'static str,
    config: MarginalUtilityConfig,
    workers: SlotMap<WorkerHistory>,
}

impl MarginalUtility {
    /// The policy `marginal_utility` with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: MarginalUtilityConfig) -> Result<Self, InvalidOption> {
        Self::named("marginal_utility", config)
    }

    /// The rule under the name that also switches recording on: `marginal_utility_recorder`.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn recorder(config: MarginalUtilityConfig) -> Result<Self, InvalidOption> {
        Self::named("marginal_utility_recorder", config)
    }

    fn named(name: &'static str, config: MarginalUtilityConfig) -> Result<Self, InvalidOption> {
        config.check()?;
        Ok(Self { name, config, workers: SlotMap::default() })
    }

    fn trend(&self, w: &WorkerView<'_>) -> Option<Gradients> {
        self.workers.get(w.id)?.trend
    }

    fn scale(&self, candidates: Candidates<'_>) -> GradientScale {
        if !self.config.normalize {
            return GradientScale::IDENTITY;
        }
        GradientScale::across(candidates.ids().iter().filter_map(|&id| self.workers.get(id)?.trend))
    }

    /// Minus the score, but never "-0".
    fn cost(&self, w: &WorkerView<'_>, scale: &GradientScale) -> f64 {
        self.trend(w).map_or(f64::from(w.in_flight), |trend| {
            let g = scale.apply(trend);
            self.config.latency_weight * g.latency - self.config.throughput_weight * g.throughput
        })
    }

    fn terms(&self, w: &WorkerView<'_>, cost: f64) -> ScoreTerms {
        let mut terms = ScoreTerms::none();
        if let Some(trend) = self.trend(w) {
            terms = terms.and("throughput_gradient", trend.throughput).and("latency_gradient", trend.latency);
        }
        terms = terms.and("score", 0.0 - cost).and("outstanding_requests", f64::from(w.in_flight));
        let Some(history) = self.workers.get(w.id) else { return terms.and("window_size", 0.0) };
        if let Some((throughput, latency)) = history.window.averages() {
            terms = terms.and("avg_throughput", throughput).and("avg_latency", latency);
        }
        terms.and("window_size", history.window.len() as f64)
    }

    /// What the chosen worker's own score came from.
    fn reason(&self, decision: &Decision, candidates: Candidates<'_>) -> Reason {
        let in_flight = candidates.get(decision.worker).map_or(0, |w| w.in_flight);
        match self.workers.get(decision.worker) {
            Some(WorkerHistory { trend: Some(_), .. }) => Reason::GradientBased,
            Some(WorkerHistory { used: false, .. }) if in_flight == 0 => Reason::NewWorker,
            _ => Reason::LoadBased,
        }
    }
}

impl Policy for MarginalUtility {
    fn name(&self) -> &'static str {
        self.name
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let mut cx = cx.shortlist(std::iter::empty());
        let scale = self.scale(cx.candidates);
        let terms = |w: &WorkerView<'_>| self.terms(w, self.cost(w, &scale));
        let decision = cx.lowest(Reason::LoadBased, |w| self.cost(w, &scale), terms);
        if decision.reason == Reason::OnlyCandidate {
            return decision;
        }
        decision.because(self.reason(&decision, cx.candidates))
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => {
                let window = GradientWindow::new(self.config.window_size);
                self.workers.insert(*worker, WorkerHistory { window, trend: None, used: false });
            }
            Event::Left(worker) => drop(self.workers.remove(*worker)),
            Event::Dispatched { worker, .. } => {
                if let Some(history) = self.workers.get_mut(*worker) {
                    history.used = true;
                }
            }
            Event::Finished(completion) if completion.result.outcome == Outcome::Success => {
                let history = self.workers.get_mut(completion.worker);
                if let (Some(history), Some(sample)) = (history, WindowSample::of(completion)) {
                    history.window.push(sample);
                    let long_enough = history.window.len() >= self.config.min_history_for_trend;
                    history.trend = history.window.gradients().filter(|_| long_enough);
                }
            }
            _ => (),
        }
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;

    /// Seconds of the end, seconds of latency, tokens.
    type Row = (f64, f64, u32);

    const A: [Row; 11] = [
        (1.0, 0.5, 100),
        (1.5, 0.6, 120),
        (2.25, 0.4, 80),
        (3.0, 0.7, 200),
        (4.0, 0.9, 160),
        (4.5, 0.8, 140),
        (5.0, 1.0, 220),
        (6.5, 1.1, 90),
        (7.0, 0.75, 130),
        (8.0, 0.85, 170),
        (8.25, 0.65, 150),
    ];

    fn b() -> Vec<Row> {
        (1..13).map(|i| (2.0 + 0.5 * f64::from(i), 1.0 + 0.05 * f64::from(i), 100 + 3 * i as u32)).collect()
    }

    fn c() -> Vec<Row> {
        (0..10)
            .map(|i| (2.0 + 0.75 * f64::from(i), 2.0 - 0.1 * f64::from(i), 64 * (1 + i as u32 % 3)))
            .collect()
    }

    /// A fleet in which worker `i` has completed `rows[i]`.
    fn bench(config: MarginalUtilityConfig, rows: &[&[Row]]) -> TestBench {
        let mut bench = TestBench::new(Box::new(MarginalUtility::new(config).unwrap()), rows.len());
        for (worker, rows) in rows.iter().enumerate() {
            for &(end, latency, tokens) in *rows {
                bench.now = Time::from_secs_f64(end);
                bench.complete(worker, latency, tokens);
            }
        }
        bench
    }

    fn near(got: Option<f64>, want: f64) {
        let got = got.unwrap();
        assert!((got - want).abs() <= 1e-9 * want.abs().max(1.0), "{got} is not {want}");
    }

    // The golden numbers come from this Python program, which knows nothing of our code:
    //
    //     from statistics import mean, pstdev
    //     def throughput(h):
    //         span = 1.0 if len(h) == 1 else h[-1][0] - h[0][0]
    //         return sum(c[2] for c in h) / span if span > 0 else 0.0
    //     def gradients(w):
    //         m = len(w) // 2; h1, h2 = w[:m], w[m:]
    //         dt = h2[-1][0] - h1[-1][0]; dt = dt if dt > 0 else 1.0
    //         lat = lambda h: mean(c[1] for c in h)
    //         return (throughput(h2) - throughput(h1)) / dt, (lat(h2) - lat(h1)) / dt
    //     B = [(2.0+0.5*i, 1.0+0.05*i, 100+3*i) for i in range(1, 13)]
    //     C = [(2.0+0.75*i, 2.0-0.1*i, 64*(1+i%3)) for i in range(10)]
    //     g = [gradients(w) for w in (A, B, C)]                     # A is the table above
    //     for t, l in g: print(t, l, 0.6*t - 0.4*l)
    //     z = [[(v-mean(c))/(pstdev(c) or 1.0) for v in c] for c in zip(*g)]
    //     for t, l in zip(*z): print(0.6*t - 0.4*l)
    //
    //     4.705882352941177  0.05607843137254903 2.8010980392156863
    //     14.399999999999997 0.10000000000000002 8.599999999999998
    //     5.688888888888892 -0.13333333333333333 3.466666666666668
    //     -0.6817562101352443  0.47978415520236295  0.2019720549328814

    #[test]
    fn gradients_and_scores_match_golden_values() {
        let mut bench = bench(MarginalUtilityConfig::default(), &[&A, &b(), &c()]);
        let asked = bench.ask();
        let golden = [
            (4.705882352941177, 0.05607843137254903, 2.8010980392156863),
            (14.399999999999997, 0.10000000000000002, 8.599999999999998),
            (5.688888888888892, -0.13333333333333333, 3.466666666666668),
        ];
        for (got, (throughput, latency, score)) in asked.scores.iter().zip(golden) {
            near(got.terms.get("throughput_gradient"), throughput);
            near(got.terms.get("latency_gradient"), latency);
            near(got.terms.get("score"), score);
            near(Some(got.cost), -score);
        }
        near(asked.scores[0].terms.get("avg_throughput"), 1560.0 / 7.25);
        near(asked.scores[0].terms.get("avg_latency"), 0.75);
        near(asked.scores[0].terms.get("window_size"), 11.0);
        assert_eq!((asked.decision.worker.slot(), asked.decision.reason), (1, Reason::GradientBased));
    }

    #[test]
    fn z_scores_match_golden_values() {
        let config = MarginalUtilityConfig { normalize: true, ..MarginalUtilityConfig::default() };
        let asked = bench(config, &[&A, &b(), &c()]).ask();
        let golden = [-0.6817562101352443, 0.47978415520236295, 0.2019720549328814];
        for (got, score) in asked.scores.iter().zip(golden) {
            near(got.terms.get("score"), score);
        }
    }

    #[test]
    fn a_single_trend_normalises_to_zero() {
        let config = MarginalUtilityConfig { normalize: true, ..MarginalUtilityConfig::default() };
        let asked = bench(config, &[&A, &[]]).ask();
        assert_eq!(asked.scores[0].terms.get("score"), Some(0.0));
        assert_eq!(asked.decision.ties, 2, "0 against 0 of a worker never seen");
    }

    #[test]
    fn without_trend_load_decides() {
        let mut bench = bench(MarginalUtilityConfig::default(), &[&A[..9], &A[..3]]);
        bench.hold(0, 2);
        bench.hold(1, 1);
        let asked = bench.ask();
        assert_eq!((asked.decision.worker.slot(), asked.decision.reason), (1, Reason::LoadBased));
        for (score, outstanding) in asked.scores.iter().zip([2.0, 1.0]) {
            assert_eq!(score.terms.get("throughput_gradient"), None);
            assert_eq!(score.terms.get("latency_gradient"), None);
            assert_eq!(score.terms.get("score"), Some(-outstanding));
            assert_eq!(score.terms.get("outstanding_requests"), Some(outstanding));
        }
    }

    #[test]
    fn reason_is_that_of_the_chosen() {
        // Worker 0 gets slower, so its gradient score is negative; worker 1 was never used and scores 0.
        let slower: Vec<Row> = (0..10).map(|i| (f64::from(i * i + 1), 0.1 * f64::from(i + 1), 100)).collect();
        let mut bench = bench(MarginalUtilityConfig::default(), &[&slower, &[]]);
        let asked = bench.ask();
        assert!(asked.scores[0].terms.get("throughput_gradient").is_some_and(|g| g < 0.0));
        assert_eq!((asked.decision.worker.slot(), asked.decision.reason), (1, Reason::NewWorker));
        // That request was cancelled, but the worker is not new any more.
        let asked = bench.ask();
        assert_eq!((asked.decision.worker.slot(), asked.decision.reason), (1, Reason::LoadBased));
    }

    #[test]
    fn instant_completions_have_no_throughput() {
        let at_once: Vec<Row> = (0..10).map(|_| (3.0, 0.5, 100)).collect();
        let asked = bench(MarginalUtilityConfig::default(), &[&at_once, &[]]).ask();
        assert_eq!(asked.scores[0].terms.get("throughput_gradient"), Some(0.0));
        assert_eq!(asked.scores[0].cost, 0.0);
    }

    #[test]
    fn bad_options_are_named() {
        let message = |config| MarginalUtility::new(config).unwrap_err().to_string();
        let base = MarginalUtilityConfig::default();
        let config = MarginalUtilityConfig { window_size: 9, ..base };
        assert_eq!(message(config), "`window_size` must be from min_history_for_trend (10) to 100000, not 9");
        let config = MarginalUtilityConfig { min_history_for_trend: 1, ..base };
        assert_eq!(message(config), "`min_history_for_trend` must be 2 or more, not 1");
        let config = MarginalUtilityConfig { latency_weight: f64::NAN, ..base };
        assert_eq!(message(config), "`latency_weight` must be from 0 to 1e9, not NaN");
    }
}
