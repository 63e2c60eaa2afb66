//! What one worker has been sent and not yet answered, in sums that make asking cheap.

use super::config::MarginalCostConfig;
use super::learner::{Learner, Sample, Speed};
use super::lengths::Lengths;
use super::usual::Foreseen;
use crate::{Completion, PromptScript, RequestId, Route, Time, WorkTotals};
use std::time::Duration;

/// Sums are built anew at the latest after so many decode steps, since running answers grow.
const REBUILD_STEPS: f64 = 32.0;
/// How fast trust in the prefix index follows what the worker reports as cached.
const TRUST_GAIN: f64 = 0.1;
/// Shorter idleness than this many seconds is not counted.
const PAUSE: f64 = 1.0;

/// What is known of a request when it is sent to this worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sent {
    pub(super) request: RequestId,
    pub(super) attempt: u32,
    pub(super) stream: bool,
    pub(super) wording: (Route, PromptScript),
    /// Bytes of all its prompts.
    pub(super) bytes: u64,
    /// Prompt tokens, as far as known.
    pub(super) prompt: f64,
    /// Prompt tokens that this worker was sent before.
    pub(super) known: f64,
    /// Cap on the answer, in tokens; infinite when there is none.
    pub(super) cap: f64,
    /// Expected length of the answer, in tokens.
    pub(super) output: f64,
}

/// One request on the worker.
#[derive(Clone, Copy, Debug)]
struct Flight {
    sent: Sent,
    at: Time,
    uncached: f64,
    /// Prefill time that it added, in seconds.
    prefill: f64,
    /// When its first token came, or is expected.
    first_at: Time,
    /// Whether its first token is still to be heard of.
    awaited: bool,
    /// Tallies when it was sent.
    then: Tally,
    /// Requests and tokens held when it was sent, if no prompt was waiting then.
    alone_with: Option<(f64, f64)>,
    shared: f64,
    weight: f64,
}

impl Flight {
    /// Tokens that it holds on average until it ends.
    fn resident(&self) -> f64 {
        self.sent.prompt + 0.5 * self.sent.output
    }

    /// Cache room that is its own.
    fn held(&self) -> f64 {
        self.uncached + 0.5 * self.sent.output
    }
}

/// What happens to a prompt that is sent now.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Turn {
    /// Seconds until the work ahead of it is done.
    pub(super) before: f64,
    /// Whether there is prefill work ahead of it.
    pub(super) waits: bool,
    /// Whether it shares a batch that has not begun.
    pub(super) joins: bool,
}

/// Running totals since the worker joined; a difference of two tells what happened between them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Tally {
    /// Integral of the number of requests over time, in seconds.
    requests: f64,
    /// Integral of the tokens held over time, in seconds.
    resident: f64,
    /// Uncached prompt tokens computed: those of a stream when its first token comes, others when they are sent.
    uncached: f64,
    /// Prefill batches, likewise.
    prefills: f64,
}

/// Sums over the requests on the worker.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Sums {
    /// Requests.
    pub(super) requests: f64,
    /// Tokens held.
    pub(super) resident: f64,
    /// Cache room taken, in tokens.
    pub(super) held: f64,
    /// Decode steps that each is expected to share with a new one.
    pub(super) shared: f64,
    /// The same, each weighted with the tokens it then holds.
    pub(super) weighted: f64,
    /// Uncached prompt tokens of those whose first token is awaited.
    pub(super) awaited: f64,
}

/// The books and the speed model of one worker. What every decision reads lies together, the rest apart.
#[derive(Debug)]
#[repr(C)]
pub(super) struct WorkerBooks {
    sums: Sums,
    /// What the learner found last, health included.
    speed: Speed,
    health: f64,
    /// Reported cached tokens over expected ones.
    trust: f64,
    /// When the last prefill batch is expected to start and to end; what is ready before it starts joins it.
    starts_at: Time,
    ends_at: Time,
    answered_at: Time,
    answers: u32,
    learner: Box<Learner>,
    flights: Vec<Flight>,
    /// The requests of `flights`, in their order: quick to search.
    ids: Vec<RequestId>,
    rebuilt_at: Time,
    /// Additions and removals since the sums were built anew.
    changes: usize,
    tally: Tally,
    tallied_at: Time,
    /// When the last first token came.
    batch_at: Time,
    /// When the last prompt is expected to be computed whose first token will not be heard of.
    silent_until: Time,
    /// What the worker said last of its work, and the tally then.
    told: (WorkTotals, Tally),
}

impl WorkerBooks {
    pub(super) fn new(now: Time, learner: Learner) -> Self {
        Self {
            sums: Sums::default(),
            speed: learner.speed(),
            health: learner.health(),
            trust: 1.0,
            starts_at: now,
            ends_at: now,
            answered_at: now,
            answers: learner.answers(),
            learner: Box::new(learner),
            // Room enough that a worker under usual load never has to ask for more.
            flights: Vec::with_capacity(64),
            ids: Vec::with_capacity(64),
            rebuilt_at: now,
            changes: 0,
            tally: Tally::default(),
            tallied_at: now,
            batch_at: now,
            silent_until: now,
            told: (WorkTotals::NONE, Tally::default()),
        }
    }

    /// The sums over what is on the worker.
    #[inline]
    pub(super) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// How fast the worker is at present, and how many times slower than its model. What slowness was noticed is
    /// forgiven while the worker has nothing to do, half of it in `forgive_secs`, so that a worker nobody uses gets
    /// another chance.
    #[inline]
    pub(super) fn speed(&self, now: Time, forgive_secs: f64) -> (Speed, f64) {
        match self.idle_secs(now) {
            Some(idle) if idle > PAUSE => {
                let health = 1.0 + (self.health - 1.0) * (-idle / forgive_secs).exp2();
                (self.learner.speed().times(health), health)
            }
            _ => (self.speed, self.health),
        }
    }

    /// Answers that its speed was learned from.
    #[inline]
    pub(super) const fn answers(&self) -> u32 {
        self.answers
    }

    /// The speed model.
    pub(super) const fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Seconds since its last answer, if it has nothing to do.
    #[inline]
    pub(super) fn idle_secs(&self, now: Time) -> Option<f64> {
        self.flights.is_empty().then(|| now.secs_since(self.answered_at))
    }

    /// Learns from one answer.
    pub(super) fn learn(&mut self, sample: &Sample) {
        self.learner.learn(sample);
        self.consult();
    }

    /// Makes forgiving last, and forgets part of what was learned long ago in favour of what the fleet is like. To be
    /// called before a request is sent.
    pub(super) fn refresh(&mut self, now: Time, config: &MarginalCostConfig, median: Option<&Speed>) {
        let Some(idle) = self.idle_secs(now).filter(|idle| *idle > PAUSE) else { return };
        let (_, health) = self.speed(now, config.forgive_secs);
        self.learner.relax((-idle / config.relax_secs).exp2(), (health, median));
        self.consult();
    }

    /// Learns from what the worker says of its own work; two of its reports in a row tell how fast it was between them.
    pub(super) fn told(&mut self, work: &WorkTotals) {
        if *work == WorkTotals::NONE {
            return;
        }
        let (before, then) = std::mem::replace(&mut self.told, (*work, self.tally));
        if let (Some(from), Some(to)) = (before.decode, work.decode) {
            let held = self.sums.resident / self.sums.requests.max(1.0);
            self.learner.decoded(std::array::from_fn(|i| to[i] - from[i]), held);
        }
        let computed = |work: &WorkTotals| work.prefill_tokens.zip(work.prefill_busy_us);
        if let (Some(from), Some(to)) = (computed(&before), computed(work)) {
            let uncached = to.0.saturating_sub(from.0) as f64;
            let own = self.tally.uncached - then.uncached;
            // Other routers' prompts are taken to come in batches like ours.
            let prefills =
                (self.tally.prefills - then.prefills) * if own > 0.0 { uncached / own } else { 0.0 };
            self.learner.prefilled(prefills, uncached, to.1.saturating_sub(from.1) as f64 * 1e-6);
        }
        self.consult();
    }

    /// Decides whether a prefill batch takes anything here; see [`Learner::judge_batches`].
    pub(super) fn judge_batches(&mut self, fleet: f64) {
        self.learner.judge_batches(fleet);
        self.consult();
    }

    fn consult(&mut self) {
        self.health = self.learner.health();
        self.speed = self.learner.speed().times(self.health);
        self.answers = self.learner.answers();
    }

    /// Uncached tokens of a prompt of which `known` tokens were sent here before; at least one must be computed.
    #[inline]
    pub(super) fn uncached(&self, prompt: f64, known: f64) -> f64 {
        (prompt - self.trust * known).max(1.0)
    }

    /// What happens to the prompt of a request that is sent now, where a decode step takes `step` seconds.
    #[inline]
    pub(super) fn turn(&self, now: Time, (speed, step): (&Speed, f64)) -> Turn {
        let ready = speed.overhead + if self.sums.requests > 0.0 { 0.5 * step } else { 0.0 };
        let mut ends = self.ends_at.secs_since(now);
        if self.sums.awaited > 0.0 && ends < 0.0 {
            // First tokens that have not come are work that is not done, whatever was expected; half on average.
            ends = 0.5 * (speed.prefill + speed.prefill_token * self.sums.awaited);
        }
        let joins = ends > ready && self.starts_at.secs_since(now) >= ready;
        Turn { before: ends.max(ready), waits: ends > ready, joins }
    }

    /// A request was sent. Tells what is foreseen for it.
    pub(super) fn sent(&mut self, now: Time, sent: Sent, (speed, lengths): (&Speed, &Lengths)) -> Foreseen {
        self.tally_to(now);
        let uncached = self.uncached(sent.prompt, sent.known);
        let then = self.tally;
        let turn = self.turn(now, (speed, self.sums.step(speed)));
        // Prompts that wait together share one batch.
        let own_batch = if turn.joins { 0.0 } else { speed.prefill };
        let prefill = own_batch + speed.prefill_token * uncached;
        if !turn.joins {
            self.starts_at = now + seconds(turn.before);
        }
        self.ends_at = now + seconds(turn.before + prefill);
        let first_at = self.ends_at;
        if !sent.stream {
            self.silent_until = self.silent_until.max(first_at);
            self.computed(uncached, !turn.joins);
        }
        let is_alone = !turn.waits && self.sums.awaited == 0.0;
        let flight = Flight {
            sent,
            at: now,
            uncached,
            prefill,
            first_at,
            awaited: sent.stream,
            then,
            alone_with: is_alone.then_some((self.sums.requests, self.sums.resident)),
            shared: 0.0,
            weight: 0.0,
        };
        let flight = weigh(flight, 0.0, lengths);
        self.add(&flight, 1.0);
        self.flights.push(flight);
        self.ids.push(sent.request);
        self.settle(now, speed, lengths);
        let tokens = speed.prefill_token * uncached;
        Foreseen {
            wait: first_at.secs_since(now) - tokens,
            prefill_token: speed.prefill_token,
            reused: (sent.prompt - uncached) / sent.prompt,
        }
    }

    /// The first token of a stream came.
    pub(super) fn first_token(&mut self, now: Time, request: RequestId, speed: &Speed) {
        let Some(i) = self.position(request, |flight| flight.awaited) else { return };
        let flight = &mut self.flights[i];
        flight.awaited = false;
        flight.first_at = now;
        let Flight { uncached, alone_with, at, .. } = *flight;
        self.sums.awaited = (self.sums.awaited - uncached).max(0.0);
        // Half a token is what rounding may leave.
        if let Some(with) = alone_with.filter(|_| self.sums.awaited < 0.5) {
            self.learner.started(uncached, with, now.secs_since(at));
        }
        // The first tokens of one batch come together.
        let is_next = now.secs_since(self.batch_at) > 0.5 * speed.prefill;
        self.batch_at = now;
        self.computed(uncached, is_next);
        // Its batch has ended, so the next one starts now.
        let rest = if self.sums.awaited > 0.0 {
            speed.prefill + speed.prefill_token * self.sums.awaited
        } else {
            0.0
        };
        self.starts_at = now;
        self.ends_at = (now + seconds(rest)).max(self.silent_until.min(self.ends_at));
    }

    /// A request ended; gives what was known of it and, if its length is told, what it went through.
    pub(super) fn ended(
        &mut self,
        completion: &Completion,
        (speed, lengths): (&Speed, &Lengths),
    ) -> Option<(Sent, Option<Sample>)> {
        let now = completion.finished_at;
        self.tally_to(now);
        let i = self.position(completion.request, |f| {
            f.sent.attempt == completion.attempt && f.at == completion.dispatched_at
        })?;
        let flight = self.flights.swap_remove(i);
        self.ids.swap_remove(i);
        self.add(&flight, -1.0);
        if flight.awaited {
            // Its first token is told late, or not at all.
            self.computed(flight.uncached, false);
        }
        if flight.first_at > now {
            // It leaves before it was computed, and so does its share of the queue.
            self.ends_at = earlier(self.ends_at, flight.prefill).max(now);
            self.silent_until = earlier(self.silent_until, flight.prefill);
        }
        self.settle(now, speed, lengths);
        self.answered_at = now;
        let usage = completion.result.usage;
        let mut uncached = flight.uncached;
        if let (Some(cached), Some(prompt)) = (usage.cached_tokens, usage.prompt_tokens) {
            uncached = (f64::from(prompt) - f64::from(cached)).max(1.0);
            if flight.sent.known > 0.0 {
                let told = (f64::from(cached) / flight.sent.known).min(1.0);
                self.trust += TRUST_GAIN * (told - self.trust);
            }
        }
        let took = completion.server_latency();
        let sample = Sample {
            prefills: (self.tally.prefills - flight.then.prefills).max(1.0),
            uncached: (self.tally.uncached - flight.then.uncached - flight.uncached).max(0.0) + uncached,
            output: usage.output_tokens.map_or(0.0, f64::from),
            requests: (self.tally.requests - flight.then.requests) / took,
            resident: (self.tally.resident - flight.then.resident) / took,
            took,
        };
        Some((flight.sent, usage.output_tokens.map(|_| sample)))
    }

    fn position(&self, request: RequestId, is_it: impl Fn(&Flight) -> bool) -> Option<usize> {
        let mut ids = self.ids.iter().enumerate();
        ids.find(|(i, id)| **id == request && is_it(&self.flights[*i])).map(|(i, _)| i)
    }

    /// A prompt was computed, in a batch of its own or in the last one.
    fn computed(&mut self, uncached: f64, is_new_batch: bool) {
        self.tally.uncached += uncached;
        self.tally.prefills += if is_new_batch { 1.0 } else { 0.0 };
    }

    fn tally_to(&mut self, now: Time) {
        let passed = now.secs_since(self.tallied_at).max(0.0);
        self.tally.requests += passed * self.sums.requests;
        self.tally.resident += passed * self.sums.resident;
        self.tallied_at = self.tallied_at.max(now);
    }

    fn add(&mut self, flight: &Flight, sign: f64) {
        let sums = &mut self.sums;
        sums.requests += sign;
        sums.resident += sign * flight.resident();
        sums.held += sign * flight.held();
        sums.shared += sign * flight.shared;
        sums.weighted += sign * flight.weight;
        sums.awaited += if flight.awaited { sign * flight.uncached } else { 0.0 };
        self.changes += 1;
    }

    /// Builds the sums anew when they have changed or aged enough: on average a constant effort per request.
    fn settle(&mut self, now: Time, speed: &Speed, lengths: &Lengths) {
        let step = self.sums.step(speed);
        let aged = now.secs_since(self.rebuilt_at) > REBUILD_STEPS * step;
        if self.changes < self.flights.len() && !aged && !self.flights.is_empty() {
            return;
        }
        let mut flights = std::mem::take(&mut self.flights);
        self.sums = Sums::default();
        for flight in &mut flights {
            let generated = (now.secs_since(flight.first_at) / step).max(0.0);
            *flight = weigh(*flight, generated, lengths);
            self.add(flight, 1.0);
        }
        self.flights = flights;
        self.rebuilt_at = now;
        self.changes = 0;
    }
}

/// The flight with what it is expected to share with a new one.
fn weigh(mut flight: Flight, generated: f64, lengths: &Lengths) -> Flight {
    let rest = (flight.sent.cap - generated).max(1.0);
    flight.shared = lengths.shared_steps(generated).min(rest);
    flight.weight = flight.shared * (flight.sent.prompt + generated + 0.5 * flight.shared);
    flight
}

fn earlier(time: Time, secs: f64) -> Time {
    Time::from_nanos(time.as_nanos().saturating_sub(seconds(secs).as_nanos() as u64))
}

/// Saturates: absurd times become the far future, never a panic.
fn seconds(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9) as u64)
}
