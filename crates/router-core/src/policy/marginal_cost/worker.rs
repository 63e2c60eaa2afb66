//! What one worker has been sent and not yet answered, in sums that make asking cheap.

use super::learner::{Learner, Sample, Speed};
use super::lengths::Lengths;
use crate::{Completion, RequestId, Route, Time};
use std::time::Duration;

/// Sums are built anew at the latest after so many decode steps, since running answers grow.
const REBUILD_STEPS: f64 = 32.0;
/// How fast trust in the prefix index follows what the worker reports as cached.
const TRUST_GAIN: f64 = 0.1;

/// What is known of a request when it is sent to this worker.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sent {
    pub(super) request: RequestId,
    pub(super) attempt: u32,
    pub(super) stream: bool,
    pub(super) route: Route,
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

/// Running totals since the worker joined; a difference of two tells what happened between them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct Tally {
    /// Integral of the number of requests over time, in seconds.
    requests: f64,
    /// Integral of the tokens held over time, in seconds.
    resident: f64,
    /// Uncached prompt tokens sent.
    uncached: f64,
    /// Prefill batches begun.
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
pub(super) struct WorkerBooks {
    sums: Sums,
    /// What the learner found last.
    speed: Speed,
    health: f64,
    answers: u32,
    learner: Box<Learner>,
    flights: Vec<Flight>,
    rebuilt_at: Time,
    /// Additions and removals since the sums were built anew.
    changes: usize,
    tally: Tally,
    tallied_at: Time,
    /// When the prompts sent so far are expected to be computed.
    prefilled_at: Time,
    answered_at: Time,
    /// Reported cached tokens over expected ones.
    trust: f64,
}

impl WorkerBooks {
    pub(super) fn new(now: Time, learner: Learner) -> Self {
        Self {
            sums: Sums::default(),
            speed: learner.speed(),
            health: learner.health(),
            answers: learner.answers(),
            learner: Box::new(learner),
            // Room enough that a worker under usual load never has to ask for more.
            flights: Vec::with_capacity(64),
            rebuilt_at: now,
            changes: 0,
            tally: Tally::default(),
            tallied_at: now,
            prefilled_at: now,
            answered_at: now,
            trust: 1.0,
        }
    }

    /// The sums over what is on the worker.
    pub(super) const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// How many times slower than its model the worker is held to be. What was noticed is forgiven while nothing
    /// comes back, half of it in `forgive_secs`, so that a worker nobody uses gets another chance.
    pub(super) fn health(&self, now: Time, forgive_secs: f64) -> f64 {
        if self.health == 1.0 {
            return 1.0;
        }
        let idle = now.secs_since(self.answered_at).max(0.0);
        1.0 + (self.health - 1.0) * forgive_secs / (forgive_secs + idle)
    }

    /// How fast the worker is, leaving passing slowness aside.
    pub(super) const fn speed(&self) -> &Speed {
        &self.speed
    }

    /// Answers that its speed was learned from.
    pub(super) const fn answers(&self) -> u32 {
        self.answers
    }

    /// The speed model.
    pub(super) const fn learner(&self) -> &Learner {
        &self.learner
    }

    /// Learns from one answer.
    pub(super) fn learn(&mut self, sample: &Sample) {
        self.learner.learn(sample);
        self.speed = self.learner.speed();
        self.health = self.learner.health();
        self.answers = self.learner.answers();
    }

    /// Uncached tokens of a prompt of which `known` tokens were sent here before; at least one must be computed.
    pub(super) fn uncached(&self, prompt: f64, known: f64) -> f64 {
        (prompt - self.trust * known).max(1.0)
    }

    /// Seconds of prefill ahead of a request that is sent now.
    pub(super) fn queue(&self, now: Time, speed: &Speed) -> f64 {
        let expected = self.prefilled_at.secs_since(now) - speed.overhead;
        // First tokens that have not come are work that is not done, whatever was expected; half of it on average.
        let awaited = if self.sums.awaited > 0.0 {
            0.5 * (speed.prefill + speed.prefill_token * self.sums.awaited)
        } else {
            0.0
        };
        expected.max(awaited).max(0.0)
    }

    /// A request was sent.
    pub(super) fn sent(&mut self, now: Time, sent: Sent, (speed, lengths): (&Speed, &Lengths)) {
        self.tally_to(now);
        let uncached = self.uncached(sent.prompt, sent.known);
        let then = self.tally;
        let queued = self.queue(now, speed) > 0.0;
        // Prompts that wait together share one batch.
        let own_batch = if queued { 0.0 } else { speed.prefill };
        let prefill = own_batch + speed.prefill_token * uncached;
        let earliest = now + seconds(speed.overhead);
        self.prefilled_at = self.prefilled_at.max(earliest) + seconds(prefill);
        self.tally.uncached += uncached;
        self.tally.prefills += if queued { 0.0 } else { 1.0 };
        let first_at = self.prefilled_at;
        let awaited = sent.stream;
        let flight =
            Flight { sent, at: now, uncached, prefill, first_at, awaited, then, shared: 0.0, weight: 0.0 };
        let flight = weigh(flight, 0.0, lengths);
        self.add(&flight, 1.0);
        self.flights.push(flight);
        self.settle(now, speed, lengths);
    }

    /// The first token of a stream came.
    pub(super) fn first_token(&mut self, now: Time, request: RequestId) {
        let is_it = |f: &&mut Flight| f.sent.request == request && f.awaited;
        let Some(flight) = self.flights.iter_mut().find(is_it) else { return };
        flight.awaited = false;
        flight.first_at = now;
        let uncached = flight.uncached;
        self.sums.awaited = (self.sums.awaited - uncached).max(0.0);
        self.clear_queue(now);
    }

    /// A request ended; gives what was known of it and, if its length is told, what it went through.
    pub(super) fn ended(
        &mut self,
        completion: &Completion,
        (speed, lengths): (&Speed, &Lengths),
    ) -> Option<(Sent, Option<Sample>)> {
        let now = completion.finished_at;
        self.tally_to(now);
        let is_it = |f: &Flight| {
            (f.sent.request, f.sent.attempt) == (completion.request, completion.attempt)
                && f.at == completion.dispatched_at
        };
        let i = self.flights.iter().position(is_it)?;
        let flight = self.flights.swap_remove(i);
        self.add(&flight, -1.0);
        if flight.first_at > now {
            // It leaves before it was computed, and so does its share of the queue.
            let left = self.prefilled_at.as_nanos().saturating_sub(seconds(flight.prefill).as_nanos() as u64);
            self.prefilled_at = Time::from_nanos(left).max(now);
        }
        self.settle(now, speed, lengths);
        self.clear_queue(now);
        self.answered_at = now;
        let usage = completion.finish.usage;
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

    /// Nothing waits for its prefill when every first token has been heard, or none is out.
    fn clear_queue(&mut self, now: Time) {
        if self.sums.awaited > 0.0 {
            return;
        }
        let silent = self.flights.iter().filter(|f| !f.sent.stream).map(|f| f.first_at).max();
        self.prefilled_at = self.prefilled_at.min(silent.unwrap_or(now).max(now));
    }

    /// Builds the sums anew when they have changed or aged enough: on average a constant effort per request.
    fn settle(&mut self, now: Time, speed: &Speed, lengths: &Lengths) {
        let step =
            speed.step + speed.step_request * self.sums.requests + speed.step_token * self.sums.resident;
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

/// Saturates: absurd times become the far future, never a panic.
fn seconds(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9) as u64)
}
