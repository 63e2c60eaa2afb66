//! `marginal_cost`: send a request where it adds least to the latency of all requests.
//!
//! The cost of one more request on a worker (`cost`) is what it will take there itself, what it slows down those that
//! are there, and what it delays those that come next; all in seconds. It is predicted from the router's own exact counts
//! (`in_flight`, `worker`), a speed model per worker that is learned from responses alone (`learner`), the distribution of output
//! lengths (`output_lengths`) and the averages of the fleet (`baseline`). What workers tell about others of their kind is in
//! `survey` and `kind`.
//!
//! It polls nothing, knows no true length in advance and never waits for data: a worker about which nothing is known
//! is assumed to be like the others.

mod baseline;
mod change;
mod coefficients;
mod config;
mod cost;
mod empty_share;
mod in_flight;
mod kind;
mod learner;
mod output_lengths;
mod survey;
#[cfg(test)]
mod tests;
mod trials;
mod worker;

pub use config::MarginalCostConfig;

use super::InvalidOption;
use crate::fleet::Candidates;
use crate::prefix_index::{PrefixIndex, PrefixMatches, PromptTokens};
use crate::ranking::{COMPARE_ALL, MOST_FOUND, Ranking};
use crate::token_estimator::TokenEstimator;
use crate::worker_view::WorkerView;
use crate::{
    Completion, Decision, DecisionContext, Event, LengthClass, LengthForecast, Outcome, Policy, PolicyNeeds,
    Reason, RequestFeatures, RequestId, ScoreTerms, SlotMap, Time, WorkerId, WorkerInfo,
};
use baseline::{Baseline, RequestSizes};
use cost::{CostBreakdown, CostInputs, cost_of};
use in_flight::RequestEstimate;
use kind::WorkerKind;
use learner::SpeedLearner;
use output_lengths::OutputLengths;
use survey::{FleetSurvey, SURVEY_EVERY};
use trials::{TRIALS, TrialBudget};
use worker::WorkerModel;

/// A worker is explored only if it costs at most this many times as much as the best.
const EXPLORE_MAX_COST_RATIO: f64 = 1.5;
/// Workers that are ranked anew with each request.
const RANKED_IN_TURN: usize = 2;

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
    /// Sum over the workers of the share of their responses that had no output.
    empty_shares: f64,
    /// Requests sent, and responses completed.
    sent: u32,
    responses: u32,
    lengths: OutputLengths,
    tokens: TokenEstimator,
    baseline: Baseline,
    survey: FleetSurvey,
    /// Workers that were sent fewer than [`TRIALS`] requests, and what it may cost to send them some.
    untried: usize,
    budget: TrialBudget,
    /// The workers by what a usual request costs there without a known prefix, in fleets of which only a few are compared.
    ranking: Ranking,
    /// The slot that is ranked anew next.
    ranked: usize,
    /// The best of the ranking at this decision.
    cheapest: Vec<WorkerId>,
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
            empty_shares: 0.0,
            sent: 0,
            responses: 0,
            lengths: OutputLengths::default(),
            tokens: TokenEstimator::default(),
            baseline: Baseline::default(),
            survey: FleetSurvey::default(),
            untried: 0,
            budget: TrialBudget::default(),
            ranking: Ranking::default(),
            ranked: 0,
            cheapest: Vec::with_capacity(MOST_FOUND),
        })
    }

    fn cost_inputs(&self, now: Time, request: &RequestFeatures<'_>) -> CostInputs {
        let usual_output = self.lengths.forecast().mean();
        let unforeseen = || usual_output * f64::from(request.choices.max(1));
        let (prompt, per_byte) = self.tokens.prompt(request);
        let usual_ttft = self.baseline.ttft(prompt);
        CostInputs {
            now,
            prompt,
            block: per_byte * f64::from(request.prefix_block_bytes),
            output: request.expected_output_tokens().unwrap_or_else(unforeseen),
            usual_output,
            fair: self.in_flight as f64 / self.present.max(1) as f64,
            per_usual_ttft: if usual_ttft > 0.0 { 1.0 / usual_ttft } else { 0.0 },
            usual_latency: self.baseline.latency(),
            slo_margin: self.baseline.slo_margin(),
            has_slo: self.config.slo_ttft_secs.or(self.config.slo_tpot_secs).is_some(),
            reuse: self.baseline.reuse(),
            empty_shares: (self.empty_shares, self.present as f64),
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

    /// Ranks a worker anew after an event that changed its load or its speed.
    fn rank(&mut self, now: Time, worker: WorkerId) {
        if self.present > COMPARE_ALL {
            let inputs = self.usual_inputs(now);
            self.rank_by(&inputs, worker);
        }
    }

    /// Ranks a worker that got a request anew, and some others in turn, so that no rank becomes old.
    fn rank_some(&mut self, now: Time, worker: WorkerId) {
        if self.present > COMPARE_ALL {
            let inputs = self.usual_inputs(now);
            self.rank_by(&inputs, worker);
            for slot in self.workers.next_slots(&mut self.ranked, RANKED_IN_TURN) {
                if let Some(worker) = self.workers.id_at(slot) {
                    self.rank_by(&inputs, worker);
                }
            }
        }
    }

    /// A request of the usual size, without a known prefix.
    fn usual_inputs(&self, now: Time) -> CostInputs {
        let inputs = self.cost_inputs(now, &RequestFeatures::default());
        let RequestSizes { prompt, output } = self.usual_sizes();
        CostInputs { prompt, output, ..inputs }
    }

    /// The sizes of a usual request.
    fn usual_sizes(&self) -> RequestSizes {
        self.baseline.sizes().unwrap_or_else(|| RequestSizes {
            prompt: self.tokens.prompt(&RequestFeatures::default()).0,
            output: self.lengths.forecast().mean(),
        })
    }

    fn rank_by(&mut self, inputs: &CostInputs, worker: WorkerId) {
        let Some(model) = self.workers.get(worker) else { return };
        let cost = cost_of(&self.config, inputs, model, None, 0).total;
        self.ranking.set(worker, cost, 0);
    }

    /// Finds the cheapest candidates for a usual request. They are ranked anew, because time and what was learned of requests
    /// change costs without an event: who only seems cheap makes room for others.
    fn find_cheapest(&mut self, now: Time, candidates: Candidates<'_>) {
        self.cheapest.clear();
        if candidates.len() > COMPARE_ALL {
            self.ranking.best(MOST_FOUND, &mut self.cheapest, |id| candidates.contains(id));
            let inputs = self.usual_inputs(now);
            for place in 0..self.cheapest.len() {
                self.rank_by(&inputs, self.cheapest[place]);
            }
        }
    }

    fn breakdown(&self, view: &WorkerView<'_>, inputs: &CostInputs) -> CostBreakdown {
        let Some(model) = self.workers.get(view.id) else { return CostBreakdown::default() };
        cost_of(&self.config, inputs, model, Some(view), self.index.blocks(&self.matches, view.id))
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
        Some(best.exploring(worker, cost))
    }

    /// A worker that was sent few requests so far, if it may cost what it costs more than the best: that with the lowest cost.
    fn trial(&self, cx: &DecisionContext<'_>, inputs: &CostInputs, best: Decision) -> Option<Decision> {
        let lowest = best.cost.filter(|_| self.untried > 0)?;
        let sent = |id| self.workers.get(id).map_or(TRIALS, WorkerModel::sent);
        if sent(best.worker) < TRIALS {
            return None;
        }
        // One at a time: several at once teach no more.
        let untried = cx.candidates.iter().filter(|view| sent(view.id) < TRIALS && view.in_flight == 0);
        let costs = untried.map(|view| (self.breakdown(&view, inputs).total, view.id));
        let (cost, worker) = costs.min_by(|a, b| a.0.total_cmp(&b.0))?;
        self.budget.allows(cost - lowest).then(|| best.exploring(worker, cost))
    }

    fn joined(&mut self, now: Time, worker: WorkerId, info: &WorkerInfo) {
        // A new worker is assumed to be the median of those whose speed is known.
        let usual = self.usual_sizes();
        self.survey.survey(now, &mut self.workers, usual);
        let learner = SpeedLearner::new(self.config.memory, self.survey.median().copied());
        self.workers.insert(worker, WorkerModel::new(now, learner, WorkerKind::of(info)));
        self.matched = None;
        self.present += 1;
        self.untried += 1;
        self.survey.reserve(self.present);
        if self.present == COMPARE_ALL + 1 {
            let ids: Vec<_> = self.workers.iter().map(|(id, _)| id).collect();
            ids.into_iter().for_each(|id| self.rank(now, id));
        }
        self.rank(now, worker);
    }

    fn left(&mut self, worker: WorkerId) {
        if let Some(model) = self.workers.remove(worker) {
            self.in_flight -= model.sums().requests as usize;
            self.present -= 1;
            self.empty_shares -= model.empty_share();
            self.untried -= usize::from(model.sent() < TRIALS);
        }
        self.ranking.remove(worker);
        self.matched = None;
        if self.present == 0 {
            // The next workers may serve another model and other clients.
            self.tokens = TokenEstimator::default();
            self.baseline = Baseline::default();
            self.survey = FleetSurvey::default();
            self.in_flight = 0;
            self.empty_shares = 0.0;
        }
    }

    fn dispatched(&mut self, now: Time, worker: WorkerId, request: &RequestFeatures<'_>) {
        self.lengths.follow(request.fleet_forecast);
        let inputs = self.cost_inputs(now, request);
        self.look_up(request);
        let blocks = self.index.blocks(&self.matches, worker);
        let known = inputs.known(blocks);
        let tokens = PromptTokens { all: inputs.prompt, block: inputs.block };
        self.index.dispatched(worker, request, tokens);
        self.matched = None;
        self.sent = self.sent.wrapping_add(1);
        self.baseline.sized(RequestSizes { prompt: inputs.prompt, output: inputs.output });
        let Some(model) = self.workers.get_mut(worker) else { return };
        self.budget.sent(cost_of(&self.config, &inputs, model, None, blocks).total, model.sent());
        self.untried -= usize::from(model.sent() + 1 == TRIALS);
        model.refresh(now, &self.config, self.survey.median());
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
            forecast: class_forecast(request),
        };
        let prediction = model.dispatched(now, estimate, &speed, &self.lengths);
        // Before its first response the prediction for a worker is a guess.
        if model.responses() > 0 {
            self.baseline.dispatched(prediction);
        }
        self.in_flight += 1;
        self.rank_some(now, worker);
    }

    fn first_token(&mut self, now: Time, worker: WorkerId, request: RequestId) {
        let Some(model) = self.workers.get_mut(worker) else { return };
        let (speed, _) = model.speed(now, self.config.forgive_secs);
        let took = model.first_token(now, request, &speed);
        if let (Some(took), Some(limit)) = (took, self.config.slo_ttft_secs) {
            self.baseline.first_token(took > limit);
        }
        self.rank(now, worker);
    }

    fn progress(&mut self, now: Time, worker: WorkerId, request: RequestId, events: u32) {
        if let Some(model) = self.workers.get_mut(worker) {
            model.progress(now, request, events);
        }
    }

    fn finished(&mut self, completion: &Completion) {
        self.learn(completion);
        self.rank(completion.finished_at, completion.worker);
    }

    fn learn(&mut self, completion: &Completion) {
        // Nothing is learned from a worker that left: it may have been removed for a fault.
        let Some(model) = self.workers.get_mut(completion.worker) else { return };
        let (speed, _) = model.speed(completion.finished_at, self.config.forgive_secs);
        let Some((estimate, sample)) = model.ended(completion, &speed, &self.lengths) else { return };
        self.in_flight -= 1;
        if completion.result.outcome != Outcome::Success {
            return;
        }
        if estimate.route.generates_text() {
            let is_empty = completion.output_tokens().is_none_or(|tokens| tokens == 0);
            let (now, forgive_secs) = (completion.finished_at, self.config.forgive_secs);
            self.empty_shares += model.responded(now, forgive_secs, is_empty);
        }
        let mut is_first_lesson = false;
        if let Some(sample) = sample.filter(|s| s.output > 0.0) {
            model.learn(completion.finished_at, completion.dispatched_at, &sample);
            // The first responses of one worker are the first of what others are like.
            is_first_lesson = model.responses().is_power_of_two() && model.responses() < SURVEY_EVERY;
        }
        self.baseline.completed(completion.server_latency());
        let usage = completion.result.usage;
        if let Some(tokens) = usage.prompt_tokens {
            self.tokens.learn(estimate.route, estimate.script, estimate.bytes, tokens);
        }
        self.responses = self.responses.wrapping_add(1);
        let usual = self.usual_sizes();
        if self.responses.is_multiple_of(SURVEY_EVERY) {
            self.survey.survey(completion.finished_at, &mut self.workers, usual);
        } else if is_first_lesson {
            self.survey.first_lesson(&mut self.workers, usual);
        }
    }
}

/// What is expected of the output, where a class of requests foresees it better than all traffic does.
fn class_forecast(request: &RequestFeatures<'_>) -> Option<LengthForecast> {
    request.forecast.filter(|forecast| forecast.class != LengthClass::Fleet)
}

fn cap(request: &RequestFeatures<'_>) -> f64 {
    request.max_output_tokens.map_or(f64::INFINITY, |cap| f64::from(cap.max(1)))
}

impl Policy for MarginalCost {
    fn name(&self) -> &'static str {
        "marginal_cost"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { prefix_hashes: true, script: true, forecast: true, progress: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        self.look_up(cx.request);
        self.find_cheapest(cx.now, cx.candidates);
        let this = &*self;
        let mut cx = cx.shortlist_of(&this.cheapest, this.index.holders(&this.matches));
        let inputs = this.cost_inputs(cx.now, cx.request);
        let best =
            cx.lowest(Reason::LowestCost, |w| this.breakdown(w, &inputs).total, |w| this.terms(w, &inputs));
        let other = this.trial(&cx, &inputs, best).or_else(|| this.overdue(&cx, &inputs, best));
        if let Some(other) = &other {
            cx.explain_choice(other, |w| this.terms(w, &inputs));
        }
        let decision = other.unwrap_or(best);
        let blocks = this.index.blocks(&this.matches, decision.worker);
        let cached = this.workers.get(decision.worker).map(|model| inputs.cached(model, blocks));
        decision.predicting_cached(cached)
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.index.observe(event);
        match event {
            Event::Joined { worker, info } => self.joined(now, *worker, info),
            Event::Left(worker) => self.left(*worker),
            Event::Dispatched { worker, request } => self.dispatched(now, *worker, request),
            Event::FirstToken { worker, request } => self.first_token(now, *worker, *request),
            Event::Progress { worker, request, events } => self.progress(now, *worker, *request, *events),
            Event::Finished(completion) => self.finished(completion),
            Event::Load { worker, report } => {
                if let Some(model) = self.workers.get_mut(*worker) {
                    model.reported(now, report.waiting, &report.work);
                    self.rank(now, *worker);
                }
            }
            Event::Changed { worker, info } => {
                if let Some(model) = self.workers.get_mut(*worker) {
                    model.set_kind(WorkerKind::of(info));
                }
            }
            Event::CacheEmptied(_) => self.matched = None,
        }
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        report("predicted_output_tokens", self.lengths.forecast().mean());
        report("usual_latency_seconds", self.baseline.latency());
        report("reused_prompt_share", self.baseline.reuse());
        let slots = self.survey.slots(&self.workers);
        let errors = self.workers.range(slots).map(|(_, model)| model.learner().error());
        report("worst_prediction_error", errors.fold(0.0, f64::max));
        if let Some(median) = self.survey.median() {
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
