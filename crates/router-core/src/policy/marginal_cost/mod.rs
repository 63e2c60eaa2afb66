//! `marginal_cost`: send a request where it costs everybody least.
//!
//! The cost of one more request on a worker is what it will take there itself, what it slows down those that are
//! there, and what it delays those that come next; all in seconds. It is foreseen from the router's own exact books
//! (`worker`), a speed model per worker that is learned from answers alone (`learner`) and the distribution of answer
//! lengths (`lengths`).
//!
//! It polls nothing, knows no true length in advance and never waits for data: a worker about which nothing is known
//! is taken for one like the others.

mod config;
mod demand;
mod learner;
mod lengths;
#[cfg(test)]
mod tests;
mod worker;

pub use config::MarginalCostConfig;

use super::InvalidKnob;
use crate::fleet::WorkerView;
use crate::prefix_index::{Matches, PrefixIndex};
use crate::{
    Completion, Cx, Decision, Event, Features, Needs, Outcome, Policy, Reason, SlotMap, Terms, Time, WorkerId,
};
use demand::Demand;
use learner::{Learner, Speed};
use lengths::Lengths;
use worker::{Sent, WorkerBooks};

/// How many times as costly a worker looks that has given too few answers to be trusted with more than its share.
const COLD: f64 = 8.0;
/// Requests that every worker may hold before it has answered any.
const COLD_SHARE: f64 = 2.0;

/// Sends each request where it adds least to everybody's time, by the router's own books and learned speeds.
#[derive(Debug)]
pub struct MarginalCost {
    config: MarginalCostConfig,
    index: PrefixIndex,
    matches: Matches,
    workers: SlotMap<WorkerBooks>,
    /// How many workers there are, and requests on them.
    present: usize,
    in_flight: usize,
    lengths: Lengths,
    demand: Demand,
}

/// One request, as far as it is the same for all candidates.
#[derive(Clone, Copy, Debug)]
struct Asked {
    now: Time,
    prompt: f64,
    /// Tokens per block of its prefix.
    block: f64,
    output: f64,
    /// Requests per second that each candidate is expected to get.
    arrivals: f64,
    /// Requests that each worker holds on average.
    fair: f64,
}

/// The parts of one candidate's cost, in seconds unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    total: f64,
    own: f64,
    ttft: f64,
    externality: f64,
    backlog: f64,
    queue: f64,
    /// Tokens.
    uncached: f64,
    /// A factor.
    health: f64,
}

impl MarginalCost {
    /// A policy with these knobs. The memory of its index is reserved here and now.
    ///
    /// # Errors
    /// A knob whose value makes no sense.
    pub fn new(config: MarginalCostConfig) -> Result<Self, InvalidKnob> {
        config.check()?;
        Ok(Self {
            config,
            index: PrefixIndex::new(config.max_tree_size),
            matches: Matches::default(),
            workers: SlotMap::default(),
            present: 0,
            in_flight: 0,
            lengths: Lengths::default(),
            demand: Demand::default(),
        })
    }

    fn asked(&self, now: Time, request: &Features<'_>, candidates: usize) -> Asked {
        let cap = cap(request);
        let output = if cap.is_finite() { self.lengths.mean_up_to(cap) } else { self.lengths.mean() };
        Asked {
            now,
            prompt: self.demand.prompt_tokens(request),
            block: self.demand.tokens_per_byte(request.route) * f64::from(request.prefix_block_bytes),
            output: output * f64::from(request.answers.max(1)),
            arrivals: self.demand.rate() / candidates as f64,
            fair: self.in_flight as f64 / self.present.max(1) as f64,
        }
    }

    fn speed(&self, books: &WorkerBooks, now: Time) -> (Speed, f64) {
        let health = books.health(now, self.config.forgive_secs);
        (books.speed().times(health), health)
    }

    /// What one more request costs on this worker (docs/policies/marginal_cost.md has the formula).
    fn cost(&self, view: &WorkerView<'_>, asked: &Asked) -> Parts {
        let Some(books) = self.workers.get(view.id) else { return Parts::default() };
        let (speed, health) = self.speed(books, asked.now);
        let mut on = *books.sums();
        let resident = asked.prompt + 0.5 * asked.output;
        // Requests of other routers, when the worker tells of them: taken to be like this one and half done.
        let told = view.fresh_requests(asked.now, self.config.max_report_age_secs).map_or(0.0, f64::from);
        let others = (told - on.requests).max(0.0);
        on.requests += others;
        on.resident += others * resident;
        on.held += others * resident;
        on.shared += others * 0.5 * asked.output;
        on.weighted += others * 0.5 * asked.output * resident;
        // A short answer shares no more steps with the others than it has.
        let most = on.requests * asked.output;
        let (all_shared, all_weighted) =
            if on.shared > most { (most, on.weighted * most / on.shared) } else { (on.shared, on.weighted) };

        let known = (f64::from(self.matches.blocks(view.id)) * asked.block).min(asked.prompt);
        let uncached = books.uncached(asked.prompt, known);
        let queue = books.queue(asked.now, &speed);
        let own_batch = if queue > 0.0 { 0.0 } else { speed.prefill };
        let prefill = own_batch + speed.prefill_token * uncached;
        let step = speed.step + speed.step_request * on.requests + speed.step_token * on.resident;
        let admission = overflow(view, &on, uncached + 0.5 * asked.output) * asked.output * step;
        let ttft = queue + admission + prefill + 0.5 * step;
        let per_step = speed.step_request + speed.step_token * resident;
        let own = speed.overhead
            + ttft
            + asked.output * (speed.step + per_step)
            + speed.step_request * all_shared
            + speed.step_token * all_weighted;
        let externality = on.requests * prefill + all_shared * per_step;
        let backlog = prefill * asked.arrivals * (queue + 0.5 * prefill);
        let total = own
            + self.config.ttft_weight * ttft
            + self.config.externality_weight * externality
            + self.config.backlog_weight * backlog;
        let over = books.sums().requests >= asked.fair.max(COLD_SHARE);
        let cold = over && books.answers() < self.config.cold_answers;
        let total = if cold { COLD * total } else { total };
        Parts { total, own, ttft, externality, backlog, queue, uncached, health }
    }

    fn terms(&self, view: &WorkerView<'_>, asked: &Asked) -> Terms {
        let parts = self.cost(view, asked);
        let error = self.workers.get(view.id).map_or(0.0, |books| books.learner().error());
        Terms::new([
            ("own_latency", parts.own),
            ("ttft", parts.ttft),
            ("externality", parts.externality),
            ("backlog", parts.backlog),
            ("queue", parts.queue),
            ("uncached_tokens", parts.uncached),
            ("predicted_output", asked.output),
            ("health", parts.health),
            ("prediction_error", error),
            ("in_flight", f64::from(view.in_flight)),
        ])
    }

    fn joined(&mut self, now: Time, worker: WorkerId) {
        // A new worker is taken for the usual one of those whose speed is known.
        let settled = self.workers.iter().filter(|(_, b)| b.learner().is_settled());
        let speeds: Vec<Speed> = settled.map(|(_, b)| *b.speed()).collect();
        let learner = Learner::new(self.config.memory, Speed::median(&speeds));
        self.workers.insert(worker, WorkerBooks::new(now, learner));
        self.index.admit(worker);
        self.present += 1;
    }

    fn left(&mut self, worker: WorkerId) {
        if let Some(books) = self.workers.remove(worker) {
            self.in_flight -= books.sums().requests as usize;
            self.present -= 1;
        }
        self.index.forget(worker);
        if self.present == 0 {
            // What comes after a whole fleet has gone may serve another model to other people.
            self.lengths = Lengths::default();
            self.demand = Demand::default();
            self.in_flight = 0;
        }
    }

    fn dispatched(&mut self, now: Time, worker: WorkerId, request: &Features<'_>) {
        self.demand.arrived(now);
        let asked = self.asked(now, request, self.present.max(1));
        self.index.lookup(request.prefix, &mut self.matches);
        let known = (f64::from(self.matches.blocks(worker)) * asked.block).min(asked.prompt);
        self.index.insert(worker, request.prefix);
        let forgive = self.config.forgive_secs;
        let Some(books) = self.workers.get_mut(worker) else { return };
        let speed = books.speed().times(books.health(now, forgive));
        let sent = Sent {
            request: request.id,
            attempt: request.attempt,
            stream: request.stream,
            route: request.route,
            bytes: request.prompt_bytes,
            prompt: asked.prompt,
            known,
            cap: cap(request),
            output: asked.output,
        };
        books.sent(now, sent, (&speed, &self.lengths));
        self.in_flight += 1;
    }

    fn finished(&mut self, completion: &Completion) {
        let forgive = self.config.forgive_secs;
        // Of a worker that left nothing is learned: it may have been told to go for a reason.
        let Some(books) = self.workers.get_mut(completion.worker) else { return };
        let speed = books.speed().times(books.health(completion.finished_at, forgive));
        let Some((sent, sample)) = books.ended(completion, (&speed, &self.lengths)) else { return };
        self.in_flight -= 1;
        if completion.finish.outcome != Outcome::Success {
            return;
        }
        if let Some(sample) = sample.filter(|s| s.output > 0.0) {
            books.learn(&sample);
        }
        let usage = completion.finish.usage;
        if let Some(tokens) = usage.prompt_tokens {
            self.demand.learn(sent.route, (sent.bytes, tokens));
        }
        if let Some(tokens) = usage.output_tokens {
            self.lengths.learn(tokens);
        }
    }
}

fn cap(request: &Features<'_>) -> f64 {
    request.max_output_tokens.map_or(f64::INFINITY, |cap| f64::from(cap.max(1)))
}

/// By what share the worker would be over its limits with one more request that holds `more` tokens of its own; those
/// who come on top wait until so large a share has ended. 0 where there is room, or no limit is known.
fn overflow(view: &WorkerView<'_>, on: &worker::Sums, more: f64) -> f64 {
    let over = |load: f64, limit: f64| if limit > 0.0 && load > limit { load / limit - 1.0 } else { 0.0 };
    let requests =
        view.info.max_running_requests.map_or(0.0, |most| over(on.requests + 1.0, f64::from(most)));
    let tokens = view.info.max_total_tokens.map_or(0.0, |most| over(on.held + more, most as f64));
    requests.max(tokens)
}

impl Policy for MarginalCost {
    fn name(&self) -> &'static str {
        "marginal_cost"
    }

    fn needs(&self) -> Needs {
        Needs { prefix_hashes: true, ..Needs::NONE }
    }

    fn decide(&mut self, mut cx: Cx<'_>) -> Decision {
        self.index.lookup(cx.request.prefix, &mut self.matches);
        let this = &*self;
        let asked = this.asked(cx.now, cx.request, cx.candidates.len());
        cx.lowest(Reason::LowestCost, |w| this.cost(w, &asked).total, |w| this.terms(w, &asked))
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, .. } => self.joined(now, *worker),
            Event::Left(worker) => self.left(*worker),
            Event::Dispatched { worker, request } => self.dispatched(now, *worker, request),
            Event::FirstToken { worker, request } => {
                if let Some(books) = self.workers.get_mut(*worker) {
                    books.first_token(now, *request);
                }
            }
            Event::Finished(completion) => self.finished(completion),
            Event::Load { .. } | Event::Changed { .. } => (),
        }
    }
}
