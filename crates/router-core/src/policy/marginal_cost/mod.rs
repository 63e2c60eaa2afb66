//! `marginal_cost`: send a request where it adds least to the latency of all requests.
//!
//! The cost of one more request on a worker (`cost`) is what it will take there itself, what it slows down those that
//! are there, and what it delays those that come next; all in seconds. It is predicted from the router's own exact counts
//! (`worker`), a speed model per worker that is learned from responses alone (`learner`), the distribution of output
//! lengths (`output_lengths`) and the averages of the fleet (`baseline`).
//!
//! It polls nothing, knows no true length in advance and never waits for data: a worker about which nothing is known
//! is assumed to be like the others.

mod baseline;
mod config;
mod cost;
mod fit;
mod learner;
mod output_lengths;
#[cfg(test)]
mod tests;
mod token_estimator;
mod worker;

pub use config::MarginalCostConfig;

use super::InvalidOption;
use crate::fleet::WorkerView;
use crate::prefix_index::{PrefixIndex, PrefixMatches};
use crate::{
    Completion, Decision, DecisionContext, Event, Outcome, Policy, PolicyNeeds, Reason, RequestFeatures,
    RequestId, ScoreTerms, SlotMap, Time, WorkerId,
};
use baseline::Baseline;
use cost::{CostBreakdown, CostInputs, cost_of};
use learner::{SpeedLearner, WorkerSpeed};
use output_lengths::OutputLengths;
use token_estimator::TokenEstimator;
use worker::{RequestEstimate, WorkerModel};

/// A worker is explored only if it costs at most this many times as much as the best.
const EXPLORE_MAX_COST_RATIO: f64 = 1.5;
/// Responses between two surveys of the fleet.
const SURVEY_EVERY: u32 = 64;

/// Sends each request where it adds least to the latency of all requests, by the router's own counts and learned
/// speeds.
#[derive(Debug)]
pub struct MarginalCost {
    config: MarginalCostConfig,
    index: PrefixIndex,
    matches: PrefixMatches,
    /// The prefix that the matches belong to: attempt, length and hash.
    matched: Option<(RequestId, u32, usize, u64)>,
    workers: SlotMap<WorkerModel>,
    /// How many workers there are, and requests on them.
    present: usize,
    in_flight: usize,
    /// Requests sent, and responses completed.
    sent: u32,
    responses: u32,
    lengths: OutputLengths,
    tokens: TokenEstimator,
    baseline: Baseline,
    /// The median worker, and room to find it in.
    median: Option<WorkerSpeed>,
    speeds: Vec<WorkerSpeed>,
}

impl MarginalCost {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: MarginalCostConfig) -> Result<Self, InvalidOption> {
        config.check()?;
        Ok(Self {
            config,
            index: PrefixIndex::new(config.max_tree_size),
            matches: PrefixMatches::default(),
            matched: None,
            workers: SlotMap::default(),
            present: 0,
            in_flight: 0,
            sent: 0,
            responses: 0,
            lengths: OutputLengths::default(),
            tokens: TokenEstimator::default(),
            baseline: Baseline::default(),
            median: None,
            speeds: Vec::new(),
        })
    }

    fn cost_inputs(&self, now: Time, request: &RequestFeatures<'_>) -> CostInputs {
        let cap = cap(request);
        let output = if cap.is_finite() { self.lengths.mean_up_to(cap) } else { self.lengths.mean() };
        let (prompt, per_byte) = self.tokens.prompt(request);
        let usual_ttft = self.baseline.ttft(prompt);
        CostInputs {
            now,
            prompt,
            block: per_byte * f64::from(request.prefix_block_bytes),
            output: output * f64::from(request.choices.max(1)),
            fair: self.in_flight as f64 / self.present.max(1) as f64,
            per_usual_ttft: if usual_ttft > 0.0 { 1.0 / usual_ttft } else { 0.0 },
            usual_latency: self.baseline.latency(),
            has_slo: self.config.slo_ttft_secs.or(self.config.slo_tpot_secs).is_some(),
            reuse: self.baseline.reuse(),
        }
    }

    /// Looks the request's prefix up, unless that was done last.
    fn look_up(&mut self, request: &RequestFeatures<'_>) {
        let whose =
            (request.id, request.attempt, request.prefix.len(), request.prefix.last().map_or(0, |h| *h));
        if self.matched != Some(whose) {
            self.index.lookup(request.prefix, &mut self.matches);
            self.matched = Some(whose);
        }
    }

    fn breakdown(&self, view: &WorkerView<'_>, inputs: &CostInputs) -> CostBreakdown {
        let Some(model) = self.workers.get(view.id) else { return CostBreakdown::default() };
        cost_of(&self.config, inputs, model, view, self.index.blocks(&self.matches, view.id))
    }

    fn terms(&self, view: &WorkerView<'_>, inputs: &CostInputs) -> ScoreTerms {
        let breakdown = self.breakdown(view, inputs);
        let error = self.workers.get(view.id).map_or(0.0, |model| model.learner().error());
        ScoreTerms::new([
            ("own_latency", breakdown.own),
            ("ttft", breakdown.ttft),
            ("externality", breakdown.externality),
            ("backlog", breakdown.backlog),
            ("lateness", breakdown.lateness),
            ("copies", breakdown.copies),
            ("slo_miss", breakdown.miss),
            ("uncached_tokens", breakdown.uncached),
            ("health", breakdown.slowdown),
            ("prediction_error", error),
        ])
    }

    /// The worker to explore instead of the `best`: of those idle for long, the one idle longest.
    fn overdue(&self, cx: &DecisionContext<'_>, inputs: &CostInputs, best: Decision) -> Option<Decision> {
        let every = self.config.explore_every;
        if every == 0 || !self.sent.is_multiple_of(every) || self.sent == 0 {
            return None;
        }
        let limit = EXPLORE_MAX_COST_RATIO * best.cost?;
        let unused = cx.candidates.iter().filter_map(|view| {
            let idle = self.workers.get(view.id)?.idle_secs(cx.now)?;
            let cost = self.breakdown(&view, inputs).total;
            let is_due = view.id != best.worker && idle >= self.config.explore_after_secs && cost <= limit;
            is_due.then_some((idle, view.id, cost))
        });
        let (_, worker, cost) = unused.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let runner_up = best.cost.map(|cost| (best.worker, cost));
        Some(Decision { worker, reason: Reason::Exploration, cost: Some(cost), runner_up, ties: 1 })
    }

    fn joined(&mut self, now: Time, worker: WorkerId) {
        // A new worker is assumed to be the median of those whose speed is known.
        self.survey();
        self.workers
            .insert(worker, WorkerModel::new(now, SpeedLearner::new(self.config.memory, self.median)));
        self.index.admit(worker);
        self.matched = None;
        self.present += 1;
        self.speeds.reserve(self.present);
    }

    fn left(&mut self, worker: WorkerId) {
        if let Some(model) = self.workers.remove(worker) {
            self.in_flight -= model.sums().requests as usize;
            self.present -= 1;
        }
        self.index.forget(worker);
        self.matched = None;
        if self.present == 0 {
            // The next workers may serve another model and other clients.
            self.lengths = OutputLengths::default();
            self.tokens = TokenEstimator::default();
            self.baseline = Baseline::default();
            self.median = None;
            self.in_flight = 0;
        }
    }

    /// Finds what the fleet is like: the median of the workers whose speed is known, and whether batches take anything.
    fn survey(&mut self) {
        self.speeds.clear();
        let settled = self.workers.iter().filter(|(_, model)| model.learner().is_settled());
        self.speeds.extend(settled.map(|(_, model)| model.learner().speed()));
        self.median = WorkerSpeed::median(&mut self.speeds).or(self.median);
        let settled = self.speeds.len();
        if settled > 0 {
            let prices = self.workers.iter().map(|(_, model)| model.learner());
            let all: f64 = prices.filter(|l| l.is_settled()).map(SpeedLearner::batch_price).sum();
            self.workers.iter_mut().for_each(|(_, model)| model.judge_batches(all / settled as f64));
        }
    }

    fn dispatched(&mut self, now: Time, worker: WorkerId, request: &RequestFeatures<'_>) {
        let inputs = self.cost_inputs(now, request);
        self.look_up(request);
        let known = (f64::from(self.index.blocks(&self.matches, worker)) * inputs.block).min(inputs.prompt);
        self.index.insert(worker, request.prefix);
        self.matched = None;
        self.sent = self.sent.wrapping_add(1);
        let Some(model) = self.workers.get_mut(worker) else { return };
        model.refresh(now, &self.config, self.median.as_ref());
        let (speed, _) = model.speed(now, self.config.forgive_secs);
        let estimate = RequestEstimate {
            request: request.id,
            attempt: request.attempt,
            stream: request.stream,
            route: request.route,
            script: request.script,
            bytes: request.prompt_bytes,
            prompt: inputs.prompt,
            known,
            cap: cap(request),
            output: inputs.output,
        };
        let prediction = model.dispatched(now, estimate, &speed, &self.lengths);
        // Before its first response the prediction for a worker is a guess.
        if model.responses() > 0 {
            self.baseline.dispatched(prediction);
        }
        self.in_flight += 1;
    }

    fn first_token(&mut self, now: Time, worker: WorkerId, request: RequestId) {
        let Some(model) = self.workers.get_mut(worker) else { return };
        let (speed, _) = model.speed(now, self.config.forgive_secs);
        model.first_token(now, request, &speed);
    }

    fn finished(&mut self, completion: &Completion) {
        // Nothing is learned from a worker that left: it may have been removed for a fault.
        let Some(model) = self.workers.get_mut(completion.worker) else { return };
        let (speed, _) = model.speed(completion.finished_at, self.config.forgive_secs);
        let Some((estimate, sample)) = model.ended(completion, &speed, &self.lengths) else { return };
        self.in_flight -= 1;
        if completion.result.outcome != Outcome::Success {
            return;
        }
        if let Some(sample) = sample.filter(|s| s.output > 0.0) {
            model.learn(&sample);
        }
        self.baseline.completed(completion.server_latency());
        let usage = completion.result.usage;
        if let Some(tokens) = usage.prompt_tokens {
            self.tokens.learn(estimate.route, estimate.script, estimate.bytes, tokens);
        }
        if let Some(tokens) = usage.output_tokens {
            self.lengths.learn(tokens);
        }
        self.responses = self.responses.wrapping_add(1);
        if self.responses.is_multiple_of(SURVEY_EVERY) {
            self.survey();
        }
    }
}

fn cap(request: &RequestFeatures<'_>) -> f64 {
    request.max_output_tokens.map_or(f64::INFINITY, |cap| f64::from(cap.max(1)))
}

impl Policy for MarginalCost {
    fn name(&self) -> &'static str {
        "marginal_cost"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { prefix_hashes: true, script: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        self.look_up(cx.request);
        let this = &*self;
        let inputs = this.cost_inputs(cx.now, cx.request);
        let best =
            cx.lowest(Reason::LowestCost, |w| this.breakdown(w, &inputs).total, |w| this.terms(w, &inputs));
        let Some(overdue) = this.overdue(&cx, &inputs, best) else { return best };
        cx.explain_choice(&overdue, |w| this.terms(w, &inputs));
        overdue
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => self.joined(now, *worker),
            Event::Left(worker) => self.left(*worker),
            Event::Dispatched { worker, request } => self.dispatched(now, *worker, request),
            Event::FirstToken { worker, request } => self.first_token(now, *worker, *request),
            Event::Finished(completion) => self.finished(completion),
            Event::Load { worker, report } => {
                if let Some(model) = self.workers.get_mut(*worker) {
                    model.reported(&report.work);
                }
            }
            Event::Changed { .. } => (),
        }
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        report("predicted_output_tokens", self.lengths.mean());
        report("usual_latency_seconds", self.baseline.latency());
        report("reused_prompt_share", self.baseline.reuse());
        let errors = self.workers.iter().map(|(_, model)| model.learner().error());
        report("worst_prediction_error", errors.fold(0.0, f64::max));
        if let Some(median) = &self.median {
            report("median_overhead_seconds", median.overhead);
            report("median_prefill_seconds", median.prefill);
            report("median_prefill_token_seconds", median.prefill_token);
            report("median_step_seconds", median.step);
            report("median_step_request_seconds", median.step_request);
            report("median_step_token_seconds", median.step_token);
        }
        report("prefix_blocks", self.index.len() as f64);
        report("tree_size", self.index.memory_bytes() as f64);
    }
}
