//! `marginal_cost`: send a request where it costs everybody least.
//!
//! The cost of one more request on a worker (`cost`) is what it will take there itself, what it slows down those that
//! are there, and what it delays those that come next; all in seconds. It is foreseen from the router's own exact books
//! (`worker`), a speed model per worker that is learned from answers alone (`learner`), the distribution of answer
//! lengths (`lengths`) and what is usual here (`usual`).
//!
//! It polls nothing, knows no true length in advance and never waits for data: a worker about which nothing is known
//! is taken for one like the others.

mod config;
mod cost;
mod demand;
mod fit;
mod learner;
mod lengths;
#[cfg(test)]
mod tests;
mod usual;
mod worker;

pub use config::MarginalCostConfig;

use super::InvalidOption;
use crate::fleet::WorkerView;
use crate::prefix_index::{PrefixIndex, PrefixMatches};
use crate::{
    Completion, Decision, DecisionContext, Event, Outcome, Policy, PolicyNeeds, Reason, RequestFeatures,
    RequestId, ScoreTerms, SlotMap, Time, WorkerId,
};
use cost::{Asked, Parts, price};
use demand::Demand;
use learner::{Learner, Speed};
use lengths::Lengths;
use usual::Usual;
use worker::{Sent, WorkerBooks};

/// A worker that is explored costs at most so many times as much as the best.
const EXPLORED_AT: f64 = 1.5;
/// Answers between two looks at what the fleet is like.
const SURVEY: u32 = 64;

/// Sends each request where it adds least to everybody's time, by the router's own books and learned speeds.
#[derive(Debug)]
pub struct MarginalCost {
    config: MarginalCostConfig,
    index: PrefixIndex,
    matches: PrefixMatches,
    /// Whose matches they are: attempt, length and hash of its prefix.
    matched: Option<(RequestId, u32, usize, u64)>,
    workers: SlotMap<WorkerBooks>,
    /// How many workers there are, and requests on them.
    present: usize,
    in_flight: usize,
    /// Requests sent, and answers heard.
    sent: u32,
    answers: u32,
    lengths: Lengths,
    demand: Demand,
    usual: Usual,
    /// The median worker, and room to find it in.
    median: Option<Speed>,
    speeds: Vec<Speed>,
}

impl MarginalCost {
    /// A policy with these options. The memory of its index is reserved here and now.
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
            answers: 0,
            lengths: Lengths::default(),
            demand: Demand::default(),
            usual: Usual::default(),
            median: None,
            speeds: Vec::new(),
        })
    }

    fn asked(&self, now: Time, request: &RequestFeatures<'_>) -> Asked {
        let cap = cap(request);
        let output = if cap.is_finite() { self.lengths.mean_up_to(cap) } else { self.lengths.mean() };
        let (prompt, per_byte) = self.demand.prompt(request);
        let usual_ttft = self.usual.ttft(prompt);
        Asked {
            now,
            prompt,
            block: per_byte * f64::from(request.prefix_block_bytes),
            output: output * f64::from(request.choices.max(1)),
            fair: self.in_flight as f64 / self.present.max(1) as f64,
            per_usual_ttft: if usual_ttft > 0.0 { 1.0 / usual_ttft } else { 0.0 },
            usual_latency: self.usual.latency(),
            has_slo: self.config.slo_ttft_secs.or(self.config.slo_tpot_secs).is_some(),
            reuse: self.usual.reuse(),
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

    fn parts(&self, view: &WorkerView<'_>, asked: &Asked) -> Parts {
        let Some(books) = self.workers.get(view.id) else { return Parts::default() };
        price(&self.config, asked, books, (view, self.matches.blocks(view.id)))
    }

    fn terms(&self, view: &WorkerView<'_>, asked: &Asked) -> ScoreTerms {
        let parts = self.parts(view, asked);
        let error = self.workers.get(view.id).map_or(0.0, |books| books.learner().error());
        ScoreTerms::new([
            ("own_latency", parts.own),
            ("ttft", parts.ttft),
            ("externality", parts.externality),
            ("backlog", parts.backlog),
            ("lateness", parts.lateness),
            ("copies", parts.copies),
            ("slo_miss", parts.miss),
            ("uncached_tokens", parts.uncached),
            ("health", parts.health),
            ("prediction_error", error),
        ])
    }

    /// Whom to try again, instead of the `best`: a worker unused for long, and of those the one unused longest.
    fn overdue(&self, cx: &DecisionContext<'_>, asked: &Asked, best: Decision) -> Option<Decision> {
        let every = self.config.explore_every;
        if every == 0 || !self.sent.is_multiple_of(every) || self.sent == 0 {
            return None;
        }
        let limit = EXPLORED_AT * best.cost?;
        let unused = cx.candidates.iter().filter_map(|view| {
            let idle = self.workers.get(view.id)?.idle_secs(cx.now)?;
            let cost = self.parts(&view, asked).total;
            let is_due = view.id != best.worker && idle >= self.config.explore_after_secs && cost <= limit;
            is_due.then_some((idle, view.id, cost))
        });
        let (_, worker, cost) = unused.max_by(|a, b| a.0.total_cmp(&b.0))?;
        let runner_up = best.cost.map(|cost| (best.worker, cost));
        Some(Decision { worker, reason: Reason::Exploration, cost: Some(cost), runner_up, ties: 1 })
    }

    fn joined(&mut self, now: Time, worker: WorkerId) {
        // A new worker is taken for the usual one of those whose speed is known.
        self.survey();
        self.workers.insert(worker, WorkerBooks::new(now, Learner::new(self.config.memory, self.median)));
        self.index.admit(worker);
        self.matched = None;
        self.present += 1;
        self.speeds.reserve(self.present);
    }

    fn left(&mut self, worker: WorkerId) {
        if let Some(books) = self.workers.remove(worker) {
            self.in_flight -= books.sums().requests as usize;
            self.present -= 1;
        }
        self.index.forget(worker);
        self.matched = None;
        if self.present == 0 {
            // What comes after a whole fleet has gone may serve another model to other people.
            self.lengths = Lengths::default();
            self.demand = Demand::default();
            self.usual = Usual::default();
            self.median = None;
            self.in_flight = 0;
        }
    }

    /// Finds what the fleet is like: the median of the workers whose speed is known, and whether batches take anything.
    fn survey(&mut self) {
        self.speeds.clear();
        let settled = self.workers.iter().filter(|(_, books)| books.learner().is_settled());
        self.speeds.extend(settled.map(|(_, books)| books.learner().speed()));
        self.median = Speed::median(&mut self.speeds).or(self.median);
        let settled = self.speeds.len();
        if settled > 0 {
            let prices = self.workers.iter().map(|(_, books)| books.learner());
            let all: f64 = prices.filter(|l| l.is_settled()).map(Learner::batch_price).sum();
            self.workers.iter_mut().for_each(|(_, books)| books.judge_batches(all / settled as f64));
        }
    }

    fn dispatched(&mut self, now: Time, worker: WorkerId, request: &RequestFeatures<'_>) {
        let asked = self.asked(now, request);
        self.look_up(request);
        let known = (f64::from(self.matches.blocks(worker)) * asked.block).min(asked.prompt);
        self.index.insert(worker, request.prefix);
        self.matched = None;
        self.sent = self.sent.wrapping_add(1);
        let Some(books) = self.workers.get_mut(worker) else { return };
        books.refresh(now, &self.config, self.median.as_ref());
        let (speed, _) = books.speed(now, self.config.forgive_secs);
        let sent = Sent {
            request: request.id,
            attempt: request.attempt,
            stream: request.stream,
            wording: (request.route, request.script),
            bytes: request.prompt_bytes,
            prompt: asked.prompt,
            known,
            cap: cap(request),
            output: asked.output,
        };
        let foreseen = books.sent(now, sent, (&speed, &self.lengths));
        // What is foreseen of a worker that has not answered yet is a guess.
        if books.answers() > 0 {
            self.usual.sent(foreseen);
        }
        self.in_flight += 1;
    }

    fn first_token(&mut self, now: Time, worker: WorkerId, request: RequestId) {
        let Some(books) = self.workers.get_mut(worker) else { return };
        let (speed, _) = books.speed(now, self.config.forgive_secs);
        books.first_token(now, request, &speed);
    }

    fn finished(&mut self, completion: &Completion) {
        // Of a worker that left nothing is learned: it may have been told to go for a reason.
        let Some(books) = self.workers.get_mut(completion.worker) else { return };
        let (speed, _) = books.speed(completion.finished_at, self.config.forgive_secs);
        let Some((sent, sample)) = books.ended(completion, (&speed, &self.lengths)) else { return };
        self.in_flight -= 1;
        if completion.result.outcome != Outcome::Success {
            return;
        }
        if let Some(sample) = sample.filter(|s| s.output > 0.0) {
            books.learn(&sample);
        }
        self.usual.answered(completion.server_latency());
        let usage = completion.result.usage;
        if let Some(tokens) = usage.prompt_tokens {
            self.demand.learn(sent.wording, (sent.bytes, tokens));
        }
        if let Some(tokens) = usage.output_tokens {
            self.lengths.learn(tokens);
        }
        self.answers = self.answers.wrapping_add(1);
        if self.answers.is_multiple_of(SURVEY) {
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
        let asked = this.asked(cx.now, cx.request);
        let best = cx.lowest(Reason::LowestCost, |w| this.parts(w, &asked).total, |w| this.terms(w, &asked));
        let Some(overdue) = this.overdue(&cx, &asked, best) else { return best };
        cx.explain_choice(&overdue, |w| this.terms(w, &asked));
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
                if let Some(books) = self.workers.get_mut(*worker) {
                    books.told(&report.work);
                }
            }
            Event::Changed { .. } => (),
        }
    }

    fn gauges(&self, tell: &mut dyn FnMut(&'static str, f64)) {
        tell("predicted_output_tokens", self.lengths.mean());
        tell("usual_latency_seconds", self.usual.latency());
        tell("reused_prompt_share", self.usual.reuse());
        let errors = self.workers.iter().map(|(_, books)| books.learner().error());
        tell("worst_prediction_error", errors.fold(0.0, f64::max));
        if let Some(median) = &self.median {
            tell("median_overhead_seconds", median.overhead);
            tell("median_prefill_seconds", median.prefill);
            tell("median_prefill_token_seconds", median.prefill_token);
            tell("median_step_seconds", median.step);
            tell("median_step_request_seconds", median.step_request);
            tell("median_step_token_seconds", median.step_token);
        }
        tell("prefix_blocks", self.index.len() as f64);
        tell("tree_size", self.index.memory_bytes() as f64);
    }
}
