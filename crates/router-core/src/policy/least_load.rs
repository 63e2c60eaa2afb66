//! `least_load`: the shortest time until a worker's queue is done, as the workers report it, and the room in its cache.

use super::{BestCandidate, InvalidOption, load_terms};
use crate::worker_view::WorkerView;
use crate::{
    Decision, DecisionContext, Event, LoadReport, Policy, PolicyNeeds, Reason, ScoreTerms, SlotMap, Time,
    WorkerId,
};
use serde::{Deserialize, Serialize};

/// Upper bound on the cache usage that is counted, so that the cost stays finite.
const FULLEST: f64 = 0.999;

/// The options of [`LeastLoad`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeastLoadConfig {
    /// Seconds that a cache filled to one half costs. Default 0.15; 0 and more.
    pub kv_pressure_weight: f64,
    /// Prompt tokens that a request is assumed to have where its tokens are not reported. Default 1024; 1 and more.
    pub mean_prefill_tokens: u32,
    /// Tokens per second that a worker of weight 1 is assumed to do when it reports none. Default 2000; above 0.
    pub default_throughput: f64,
    /// A report older than this many seconds is not used. Default 10; 0 and more.
    pub max_report_age_secs: f64,
    /// Counts the tokens that the requests in flight are expected to generate like those in the queue. Default false.
    pub forecast_lengths: bool,
}

impl Default for LeastLoadConfig {
    fn default() -> Self {
        Self {
            kv_pressure_weight: 0.15,
            mean_prefill_tokens: 1024,
            default_throughput: 2000.0,
            max_report_age_secs: 10.0,
            forecast_lengths: false,
        }
    }
}

/// What one worker reported last, and what was sent to it since it reported its queue.
#[derive(Clone, Copy, Debug, Default)]
struct ReportedLoad {
    /// Tokens in its queue, and when it reported them.
    queue: Option<(f64, Time)>,
    kv_usage: f64,
    throughput: Option<f64>,
    /// Tokens sent since.
    since: f64,
}

/// The parts of one candidate's score.
#[derive(Clone, Copy, Debug)]
struct LoadEstimate {
    total: f64,
    queued: f64,
    throughput: f64,
    kv_usage: f64,
}

/// The rule of smg: tokens queued and sent since, over the tokens per second achieved, and a price on a full cache.
#[derive(Clone, Debug)]
pub struct LeastLoad {
    config: LeastLoadConfig,
    workers: SlotMap<ReportedLoad>,
}

impl LeastLoad {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: LeastLoadConfig) -> Result<Self, InvalidOption> {
        InvalidOption::check_not_negative("kv_pressure_weight", config.kv_pressure_weight)?;
        if config.mean_prefill_tokens == 0 {
            return Err(InvalidOption::must("mean_prefill_tokens", "1 or more", 0));
        }
        InvalidOption::check_positive("default_throughput", config.default_throughput)?;
        InvalidOption::check_not_negative("max_report_age_secs", config.max_report_age_secs)?;
        Ok(Self { config, workers: SlotMap::default() })
    }

    /// What the worker reported, if it reported its queue recently.
    fn fresh_report(&self, worker: WorkerId, now: Time) -> Option<&ReportedLoad> {
        let lately = |at: Time| now.secs_since(at) <= self.config.max_report_age_secs;
        self.workers.get(worker).filter(|last| last.queue.is_some_and(|(_, at)| lately(at)))
    }

    /// The score of a worker that reported its queue recently.
    fn score(&self, w: &WorkerView<'_>, now: Time) -> Option<LoadEstimate> {
        let last = self.fresh_report(w.id, now)?;
        let queued = last.queue?.0 + last.since + self.expected_output(w);
        // Without a reported throughput the weight is used.
        let usual = (self.config.default_throughput * w.weight()).max(f64::MIN_POSITIVE);
        let throughput = last.throughput.unwrap_or(usual);
        let kv_usage = last.kv_usage.clamp(0.0, FULLEST);
        let total = queued / throughput + self.config.kv_pressure_weight * kv_usage / (1.0 - kv_usage);
        Some(LoadEstimate { total: total.min(f64::MAX), queued, throughput, kv_usage })
    }

    /// The score of a worker that did not report, among others that did: that of the best of those, plus the time that
    /// its own requests in flight take at their mean throughput. So an unknown load counts neither as idle nor as full.
    fn guess(&self, w: &WorkerView<'_>, best: f64, throughput: f64) -> LoadEstimate {
        let queued =
            f64::from(w.in_flight) * f64::from(self.config.mean_prefill_tokens) + self.expected_output(w);
        let total = (best + w.per_weight(queued / throughput)).min(f64::MAX);
        LoadEstimate { total, queued, throughput, kv_usage: 0.0 }
    }

    /// Tokens that its requests in flight are expected to generate, if they count.
    fn expected_output(&self, w: &WorkerView<'_>) -> f64 {
        if self.config.forecast_lengths { w.expected_output_tokens } else { 0.0 }
    }

    fn record_report(&mut self, worker: WorkerId, report: &LoadReport) {
        let Some(last) = self.workers.get_mut(worker) else { return };
        let waiting = report.waiting.map(|n| f64::from(n) * f64::from(self.config.mean_prefill_tokens));
        // A report that rides on a response may have the queue alone and must not erase the rest.
        if let Some(queued) = report.waiting_tokens.map(|tokens| tokens as f64).or(waiting) {
            last.queue = Some((queued, report.at));
            last.since = 0.0;
        }
        last.kv_usage = report.kv_usage.filter(|usage| usage.is_finite()).unwrap_or(last.kv_usage);
        if let Some(throughput) = report.gen_throughput {
            last.throughput = Some(throughput).filter(|t| t.is_finite() && *t > 0.0);
        }
    }
}

fn terms(w: &WorkerView<'_>, score: &LoadEstimate) -> ScoreTerms {
    load_terms(w)
        .and("queued_tokens", score.queued)
        .and("throughput", score.throughput)
        .and("kv_usage", score.kv_usage)
}

impl Policy for LeastLoad {
    fn name(&self) -> &'static str {
        "least_load"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { load_reports: true, forecast: self.config.forecast_lengths, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let mut cx = cx.shortlist(std::iter::empty());
        let (now, candidates) = (cx.now, cx.candidates);
        let (mut lowest, mut throughput, mut reporting) = (f64::MAX, 0.0, 0.0);
        for score in candidates.iter().filter_map(|w| self.score(&w, now)) {
            lowest = lowest.min(score.total);
            throughput += score.throughput;
            reporting += 1.0;
        }
        if reporting == 0.0 {
            return cx.least_loaded(Reason::Fallback, load_terms);
        }
        let mean_throughput = throughput / reporting;
        let mut best = BestCandidate::default();
        for w in candidates.iter() {
            let score = self.score(&w, now).unwrap_or_else(|| self.guess(&w, lowest, mean_throughput));
            cx.explain(w.id, score.total, || terms(&w, &score));
            best.offer(&w, score.total, cx.rng);
        }
        best.decide(candidates, Reason::LoadBased)
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => self.workers.insert(*worker, ReportedLoad::default()),
            Event::Left(worker) => drop(self.workers.remove(*worker)),
            Event::Dispatched { worker, request } => {
                if let Some(last) = self.workers.get_mut(*worker) {
                    let tokens = request.prompt_tokens.unwrap_or(self.config.mean_prefill_tokens);
                    last.since += f64::from(tokens);
                }
            }
            Event::Load { worker, report } => self.record_report(*worker, report),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, LoadSource, RequestFeatures};

    fn bench(workers: usize) -> TestBench {
        bench_of(LeastLoadConfig::default(), workers)
    }

    fn bench_of(config: LeastLoadConfig, workers: usize) -> TestBench {
        TestBench::new(Box::new(LeastLoad::new(config).unwrap()), workers)
    }

    fn report(bench: &mut TestBench, worker: usize, tokens: u64, kv_usage: f64, throughput: f64) {
        let report = LoadReport {
            waiting_tokens: Some(tokens),
            kv_usage: Some(kv_usage),
            gen_throughput: Some(throughput),
            ..LoadReport::empty(bench.now, LoadSource::Poll)
        };
        bench.balancer.apply(bench.now, FleetUpdate::Load(bench.ids[worker], report));
    }

    #[test]
    fn score_equals_that_of_smg() {
        let mut bench = bench(2);
        report(&mut bench, 0, 3000, 0.5, 1000.0);
        report(&mut bench, 1, 3000, 0.0, 0.0);
        bench.force(0, &RequestFeatures { prompt_tokens: Some(500), ..RequestFeatures::default() });
        bench.hold(1, 1);
        let scores: Vec<f64> = bench.ask().scores.iter().map(|s| s.cost).collect();
        assert!((scores[0] - (3.5 + 0.15)).abs() < 1e-9, "{scores:?}");
        assert!((scores[1] - (3000.0 + 1024.0) / 2000.0).abs() < 1e-9, "no throughput reported: {scores:?}");
        assert_eq!(bench.send(), 1);
        assert_eq!(bench.last_reason(), Reason::LoadBased);
    }

    #[test]
    fn burst_between_reports_is_spread() {
        let mut bench = bench(2);
        report(&mut bench, 0, 0, 0.2, 1000.0);
        report(&mut bench, 1, 0, 0.2, 1000.0);
        let sent = bench.send_many(10);
        assert_eq!(sent.iter().filter(|&&w| w == 0).count(), 5);
    }

    #[test]
    fn a_full_cache_is_avoided() {
        let mut bench = bench(2);
        report(&mut bench, 0, 0, 0.99, 1000.0);
        report(&mut bench, 1, 9000, 0.1, 1000.0);
        assert_eq!(bench.send(), 1);
    }

    #[test]
    fn forecast_lengths_of_running_requests_count() {
        let config = LeastLoadConfig { forecast_lengths: true, ..LeastLoadConfig::default() };
        let mut bench = bench_of(config, 2);
        let of_length =
            |tokens| RequestFeatures { stated_output_tokens: Some(tokens), ..RequestFeatures::default() };
        bench.force(0, &of_length(100));
        bench.force(0, &of_length(100));
        bench.force(1, &of_length(3000));
        // All of them run: nothing is queued.
        report(&mut bench, 0, 0, 0.0, 1000.0);
        report(&mut bench, 1, 0, 0.0, 1000.0);
        let scores: Vec<f64> = bench.ask().scores.iter().map(|s| s.cost).collect();
        assert!((scores[0] - 0.2).abs() < 0.02 && (scores[1] - 3.0).abs() < 0.2, "{scores:?}");
        bench.finish_all();
        report(&mut bench, 0, 0, 0.0, 1000.0);
        let scores: Vec<f64> = bench.ask().scores.iter().map(|s| s.cost).collect();
        assert_eq!(scores, [0.0, 0.0], "nothing is left behind");
    }

    #[test]
    fn unreported_worker_scores_like_the_best() {
        let mut bench = bench(3);
        report(&mut bench, 0, 2000, 0.0, 1000.0);
        report(&mut bench, 1, 4000, 0.0, 1000.0);
        let scores: Vec<f64> = bench.ask().scores.iter().map(|s| s.cost).collect();
        assert_eq!(scores[2], scores[0]);
    }

    #[test]
    fn queue_only_report_keeps_the_rest() {
        let mut bench = bench(1);
        report(&mut bench, 0, 0, 0.5, 512.0);
        let report = LoadReport { waiting: Some(1), ..LoadReport::empty(bench.now, LoadSource::Piggyback) };
        bench.balancer.apply(bench.now, FleetUpdate::Load(bench.ids[0], report));
        assert!((bench.ask().scores[0].cost - (2.0 + 0.15)).abs() < 1e-9);
    }

    #[test]
    fn without_reports_in_flight_is_fallback() {
        let mut bench = bench(2);
        report(&mut bench, 0, 0, 0.0, 1000.0);
        bench.hold(0, 2);
        bench.now = Time::from_secs_f64(10.5);
        assert_eq!(bench.send(), 1);
        assert_eq!(bench.last_reason(), Reason::Fallback);
    }

    #[test]
    fn bad_options_are_named() {
        let config = LeastLoadConfig { default_throughput: 0.0, ..LeastLoadConfig::default() };
        let error = LeastLoad::new(config).unwrap_err();
        assert_eq!(error.to_string(), "`default_throughput` must be above 0, not 0");
    }
}
