//! The requests in flight on one worker and its speed, in sums that make a cost cheap to compute.

mod reports;

use super::baseline::Prediction;
use super::change::{MIN_PACE_STEPS, MOST_PROMPT_SHARE, Observed, SpeedWatch};
use super::config::MarginalCostConfig;
use super::empty_share::{EmptyShare, SUSPECT_SHARE};
use super::in_flight::{
    InFlightRequest, LoadSums, PrefillSlot, RequestEstimate, RunningTotals, StreamProgress,
};
use super::kind::{KindTime, WorkerKind};
use super::learner::{ResponseSample, SpeedLearner, WorkerSpeed};
use super::output_lengths::OutputLengths;
use crate::request_table::RequestTable;
use crate::{Completion, RequestId, Time, WorkTotals};
use std::time::Duration;

/// The sums are rebuilt at the latest after this many decode steps, because running requests grow.
const REBUILD_STEPS: f64 = 32.0;
/// How fast the cache hit correction follows what the worker reports as cached.
const CACHE_CORRECTION_GAIN: f64 = 0.1;
/// An idle time shorter than this is ignored.
const MIN_IDLE_SECS: f64 = 1.0;

/// The load and the speed of one worker. The fields that every decision reads lie together, for the CPU cache.
#[derive(Debug)]
#[repr(C)]
pub(super) struct WorkerModel {
    sums: LoadSums,
    /// The learner's last result, slowdown included.
    speed: WorkerSpeed,
    slowdown: f64,
    /// The factor that draws the speed towards that of its kind.
    pull: f64,
    /// Reported cached tokens over expected ones.
    cache_hit_correction: f64,
    /// When the last prefill batch is expected to start and to end; what is ready before it starts joins it.
    starts_at: Time,
    ends_at: Time,
    responded_at: Time,
    responses: u32,
    learner: Box<SpeedLearner>,
    watch: SpeedWatch,
    kind: WorkerKind,
    /// How long requests take on workers of its kind, as far as known.
    kind_time: Option<KindTime>,
    /// Requests that were sent to it.
    sent: u32,
    /// Share of its last responses that had no output; see [`is_suspect`](Self::is_suspect).
    empty_share: EmptyShare,
    requests: RequestTable<InFlightRequest>,
    rebuilt_at: Time,
    /// Additions and removals since the sums were rebuilt.
    changes: usize,
    totals: RunningTotals,
    totals_at: Time,
    /// When the last first token came.
    batch_at: Time,
    /// When the last prompt without a first-token event is expected to be computed.
    silent_until: Time,
    /// The work totals that the worker reported last, and its running totals at that time.
    last_report: (WorkTotals, RunningTotals),
}

impl WorkerModel {
    pub(super) fn new(now: Time, learner: SpeedLearner, kind: WorkerKind) -> Self {
        Self {
            sums: LoadSums::default(),
            kind,
            sent: 0,
            empty_share: EmptyShare::default(),
            speed: learner.speed(),
            slowdown: learner.slowdown(),
            pull: 1.0,
            kind_time: None,
            cache_hit_correction: 1.0,
            starts_at: now,
            ends_at: now,
            responded_at: now,
            responses: learner.responses(),
            learner: Box::new(learner),
            watch: SpeedWatch::default(),
            // Enough that a worker under usual load never reallocates.
            requests: RequestTable::with_capacity(64),
            rebuilt_at: now,
            changes: 0,
            totals: RunningTotals::default(),
            totals_at: now,
            batch_at: now,
            silent_until: now,
            last_report: (WorkTotals::NONE, RunningTotals::default()),
        }
    }

    /// The sums over what is on the worker.
    #[inline]
    pub(super) const fn sums(&self) -> &LoadSums {
        &self.sums
    }

    /// How fast the worker is at present, and how many times slower than its model. The
    /// slowdown decays while the worker is idle, by half in `forgive_secs`, so that an unused worker gets requests
    /// again.
    #[inline]
    pub(super) fn speed(&self, now: Time, forgive_secs: f64) -> (WorkerSpeed, f64) {
        match self.idle_secs(now) {
            Some(idle) if idle > MIN_IDLE_SECS => {
                let slowdown = 1.0 + (self.slowdown - 1.0) * (-idle / forgive_secs).exp2();
                (self.learner.speed().times(slowdown * self.pull), slowdown)
            }
            _ => (self.speed, self.slowdown),
        }
    }

    /// Responses that its speed was learned from.
    #[inline]
    pub(super) const fn responses(&self) -> u32 {
        self.responses
    }

    /// The speed model.
    pub(super) const fn learner(&self) -> &SpeedLearner {
        &self.learner
    }

    /// Seconds since its last response, if it is idle.
    #[inline]
    pub(super) fn idle_secs(&self, now: Time) -> Option<f64> {
        self.requests.values().is_empty().then(|| now.secs_since(self.responded_at))
    }

    /// Learns from one response to a request that was sent at some time.
    pub(super) fn learn(&mut self, now: Time, sent: Time, sample: &ResponseSample) {
        let foreseen = self.learner.expected_time(sample) * self.slowdown;
        self.observe(now, sent, Observed::Response, sample.took / foreseen);
        if self.watch.has_changed_since(sent) {
            // It ran at two speeds.
            return;
        }
        self.learner.learn(sample);
        self.update_speed();
    }

    /// Stores the decayed slowdown, and moves the speed of an idle worker towards that of the fleet. To be called before
    /// a request is sent.
    pub(super) fn refresh(&mut self, now: Time, config: &MarginalCostConfig, median: Option<&WorkerSpeed>) {
        let Some(idle) = self.idle_secs(now).filter(|idle| *idle > MIN_IDLE_SECS) else { return };
        let (_, slowdown) = self.speed(now, config.forgive_secs);
        self.learner.decay_to((-idle / config.relax_secs).exp2(), slowdown, median);
        self.update_speed();
    }

    /// Requests that were sent to it.
    #[inline]
    pub(super) const fn sent(&self) -> u32 {
        self.sent
    }

    /// Records whether a response that should have had an output had one; gives the change of the share that had none.
    pub(super) fn responded(&mut self, now: Time, forgive_secs: f64, is_empty: bool) -> f64 {
        let idle = self.idle_secs(now);
        self.empty_share.add(is_empty, idle, forgive_secs)
    }

    /// Share of its last responses that had no output, as last recorded.
    pub(super) const fn empty_share(&self) -> f64 {
        self.empty_share.recorded()
    }

    /// Whether it responds without an output where other workers, of whose responses the share `usual` has none, have one: it
    /// only seems to be fast.
    #[inline]
    pub(super) fn is_suspect(&self, now: Time, forgive_secs: f64, usual: impl Fn(f64) -> f64) -> bool {
        self.empty_share.recorded() > SUSPECT_SHARE
            && self.empty_share.after(self.idle_secs(now), forgive_secs) - usual(self.empty_share.recorded())
                > SUSPECT_SHARE
    }

    /// What it is taken to be like.
    pub(super) const fn kind(&self) -> WorkerKind {
        self.kind
    }

    pub(super) fn set_kind(&mut self, kind: WorkerKind) {
        self.kind = kind;
    }

    /// Expects a worker that has not responded yet to be like another one.
    pub(super) fn expect_like(&mut self, other: &SpeedLearner) {
        self.learner.expect_like(other);
        self.update_speed();
    }

    /// Learns how long requests take on workers of its kind.
    pub(super) fn set_kind_time(&mut self, time: Option<KindTime>) {
        self.kind_time = time;
        self.update_speed();
    }

    /// Decides whether a prefill batch takes anything here; see [`SpeedLearner::judge_batches`].
    pub(super) fn judge_batches(&mut self, fleet: f64) {
        self.learner.judge_batches(fleet);
        self.update_speed();
    }

    /// How long ago requests last had to wait there for room, in seconds.
    pub(super) fn secs_since_full(&self, now: Time) -> f64 {
        self.watch.secs_since_full(now)
    }

    /// Moves a slowness that the whole fleet has into the model; see [`SpeedLearner::settle_at`].
    pub(super) fn settle_at(&mut self, factor: f64) {
        self.learner.settle_at(factor);
        self.update_speed();
    }

    fn update_speed(&mut self) {
        self.slowdown = self.learner.slowdown();
        self.responses = self.learner.responses();
        let speed = self.learner.speed();
        self.pull = self.kind_time.map_or(1.0, |time| time.pull(&speed, self.responses));
        self.speed = speed.times(self.slowdown * self.pull);
    }

    /// Uncached tokens of a prompt of which `known` tokens were sent here before; at least one must be computed.
    #[inline]
    pub(super) fn uncached(&self, prompt: f64, known: f64) -> f64 {
        (prompt - self.cache_hit_correction * known).max(1.0)
    }

    /// What happens to the prompt of a request that is sent now, where a decode step takes `step` seconds.
    #[inline]
    pub(super) fn prefill_slot(&self, now: Time, speed: &WorkerSpeed, step: f64) -> PrefillSlot {
        let ready = speed.overhead + if self.sums.requests > 0.0 { 0.5 * step } else { 0.0 };
        let mut ends = self.ends_at.secs_since(now);
        let is_queued = ends > ready;
        if self.sums.awaited > 0.0 && ends < 0.0 {
            // A missing first token means unfinished work, even when it was expected earlier; half of it on average.
            ends = 0.5 * (speed.prefill + speed.prefill_token * self.sums.awaited);
        }
        let joins_batch = ends > ready && self.starts_at.secs_since(now) >= ready;
        PrefillSlot { wait_secs: ends.max(ready), is_queued, joins_batch }
    }

    /// Adds a request that was sent, and predicts its times.
    pub(super) fn dispatched(
        &mut self,
        now: Time,
        estimate: RequestEstimate,
        speed: &WorkerSpeed,
        lengths: &OutputLengths,
    ) -> Prediction {
        self.sent = self.sent.saturating_add(1);
        self.advance_totals(now);
        let uncached = self.uncached(estimate.prompt, estimate.known);
        let at_dispatch = self.totals;
        let prefill_slot = self.prefill_slot(now, speed, self.sums.step(speed));
        // Prompts that wait together share one batch.
        let own_batch = if prefill_slot.joins_batch { 0.0 } else { speed.prefill };
        let prefill = own_batch + speed.prefill_token * uncached;
        if !prefill_slot.joins_batch {
            self.starts_at = now + seconds(prefill_slot.wait_secs);
        }
        self.ends_at = now + seconds(prefill_slot.wait_secs + prefill);
        let first_at = self.ends_at;
        if !estimate.stream {
            self.silent_until = self.silent_until.max(first_at);
            self.computed(uncached, !prefill_slot.joins_batch);
        }
        let is_alone = !prefill_slot.is_queued && self.sums.awaited == 0.0;
        let mut flight = InFlightRequest {
            estimate,
            at: now,
            uncached,
            prefill,
            first_at,
            awaited: estimate.stream,
            heard: None,
            at_dispatch,
            alone_with: is_alone.then_some((self.sums.requests, self.sums.resident)),
            shared: 0.0,
            weight: 0.0,
        };
        flight.weigh(0.0, lengths);
        self.add(&flight, 1.0);
        self.requests.push(estimate.request, flight);
        self.settle(now, speed, lengths);
        let tokens = speed.prefill_token * uncached;
        Prediction {
            wait: first_at.secs_since(now) - tokens,
            prefill_token: speed.prefill_token,
            reused: (estimate.prompt - uncached) / estimate.prompt,
        }
    }

    /// Records the first token of a stream. Gives the seconds it took.
    pub(super) fn first_token(&mut self, now: Time, request: RequestId, speed: &WorkerSpeed) -> Option<f64> {
        let i = self.requests.position(request, |flight| flight.awaited)?;
        self.advance_totals(now);
        let flight = &mut self.requests.values_mut()[i];
        flight.awaited = false;
        let foreseen = std::mem::replace(&mut flight.first_at, now).secs_since(flight.at);
        flight.heard = Some(StreamProgress { at: now, events: 0, totals: self.totals });
        let InFlightRequest { uncached, alone_with, at, .. } = *flight;
        self.sums.awaited = (self.sums.awaited - uncached).max(0.0);
        // Rounding may leave up to half a token.
        if let Some(with) = alone_with.filter(|_| self.sums.awaited < 0.5) {
            self.learner.started(uncached, with.0, with.1, now.secs_since(at));
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
        let took = now.secs_since(at);
        // The first tokens of one batch are one observation.
        if is_next {
            let observed =
                if alone_with.is_some() { Observed::FirstToken } else { Observed::QueuedFirstToken };
            self.observe(now, at, observed, took / foreseen);
        }
        Some(took)
    }

    /// Learns that so many events of a stream have come.
    pub(super) fn progress(&mut self, now: Time, request: RequestId, events: u32) {
        self.advance_totals(now);
        let Some(i) = self.requests.position(request, |flight| flight.heard.is_some()) else { return };
        let heard = StreamProgress { at: now, events, totals: self.totals };
        let flight = &mut self.requests.values_mut()[i];
        let Some(before) = flight.heard.replace(heard) else { return };
        let steps = events.saturating_sub(before.events);
        if steps < MIN_PACE_STEPS {
            flight.heard = Some(before);
            return;
        }
        let took = now.secs_since(before.at);
        let sample = ResponseSample {
            prefills: self.totals.prefills - before.totals.prefills,
            uncached: self.totals.uncached - before.totals.uncached,
            output: f64::from(steps),
            requests: (self.totals.requests - before.totals.requests) / took,
            resident: (self.totals.resident - before.totals.resident) / took,
            took,
        };
        let foreseen = self.learner.expected_pace(&sample) * self.slowdown;
        // When the prompts in between, and those that are being computed, took their time is not known; a stream that was not
        // slow in spite of them says something.
        let prompts = self.learner.expected_pace(&ResponseSample {
            uncached: sample.uncached + self.sums.awaited,
            output: 0.0,
            ..sample
        });
        if prompts * self.slowdown < MOST_PROMPT_SHARE * foreseen {
            self.observe(now, before.at, Observed::Pace, took / foreseen);
        } else if took < foreseen {
            self.watch.is_not_slower();
        }
    }

    /// Looks whether the worker has changed, by something that began at `since` and took `ratio` times as long as foreseen.
    fn observe(&mut self, now: Time, since: Time, observed: Observed, ratio: f64) {
        if self.kind.is_full(self.sums.requests, self.sums.held) {
            self.watch.found_full(now);
        }
        if self.learner.is_settled()
            && let Some(factor) = self.watch.observe(now, since, observed, ratio)
        {
            self.learner.changed(factor);
            self.update_speed();
        }
    }

    /// Removes a request that ended. Gives its estimate and, if its output length is known, the sample to learn from.
    pub(super) fn ended(
        &mut self,
        completion: &Completion,
        speed: &WorkerSpeed,
        lengths: &OutputLengths,
    ) -> Option<(RequestEstimate, Option<ResponseSample>)> {
        let now = completion.finished_at;
        self.advance_totals(now);
        let i = self.requests.position(completion.request, |f| {
            f.estimate.attempt == completion.attempt && f.at == completion.dispatched_at
        })?;
        let flight = self.requests.swap_remove(i);
        self.add(&flight, -1.0);
        if flight.awaited {
            // Its first token was not reported.
            self.computed(flight.uncached, false);
        }
        if flight.first_at > now {
            // It ended before it was computed, so its share of the queue ends with it.
            self.ends_at = earlier(self.ends_at, flight.prefill).max(now);
            self.silent_until = earlier(self.silent_until, flight.prefill);
        }
        self.settle(now, speed, lengths);
        self.responded_at = now;
        let usage = completion.result.usage;
        let mut uncached = flight.uncached;
        if let (Some(cached), Some(prompt)) = (usage.cached_tokens, usage.prompt_tokens) {
            uncached = (f64::from(prompt) - f64::from(cached)).max(1.0);
            if flight.estimate.known > 0.0 {
                let reported = (f64::from(cached) / flight.estimate.known).min(1.0);
                self.cache_hit_correction += CACHE_CORRECTION_GAIN * (reported - self.cache_hit_correction);
            }
        }
        let took = completion.server_latency();
        let sample = ResponseSample {
            prefills: (self.totals.prefills - flight.at_dispatch.prefills).max(1.0),
            uncached: (self.totals.uncached - flight.at_dispatch.uncached - flight.uncached).max(0.0)
                + uncached,
            output: completion.output_tokens().map_or(0.0, f64::from),
            requests: (self.totals.requests - flight.at_dispatch.requests) / took,
            resident: (self.totals.resident - flight.at_dispatch.resident) / took,
            took,
        };
        Some((flight.estimate, completion.output_tokens().map(|_| sample)))
    }

    /// Records that a prompt was computed, in a batch of its own or in the last one.
    fn computed(&mut self, uncached: f64, is_new_batch: bool) {
        self.totals.uncached += uncached;
        self.totals.prefills += if is_new_batch { 1.0 } else { 0.0 };
    }

    fn advance_totals(&mut self, now: Time) {
        let passed = now.secs_since(self.totals_at).max(0.0);
        self.totals.requests += passed * self.sums.requests;
        self.totals.resident += passed * self.sums.resident;
        self.totals_at = self.totals_at.max(now);
    }

    fn add(&mut self, flight: &InFlightRequest, sign: f64) {
        let sums = &mut self.sums;
        sums.requests += sign;
        sums.resident += sign * flight.resident();
        sums.held += sign * flight.held();
        sums.shared += sign * flight.shared;
        sums.weighted += sign * flight.weight;
        sums.awaited += if flight.awaited { sign * flight.uncached } else { 0.0 };
        self.changes += 1;
    }

    /// Rebuilds the sums when they have changed or aged enough: constant work per request on average.
    fn settle(&mut self, now: Time, speed: &WorkerSpeed, lengths: &OutputLengths) {
        let step = self.sums.step(speed);
        let aged = now.secs_since(self.rebuilt_at) > REBUILD_STEPS * step;
        let count = self.requests.values().len();
        if self.changes < count && !aged {
            return;
        }
        let mut flights = std::mem::take(&mut self.requests);
        self.sums = LoadSums::default();
        for flight in flights.values_mut() {
            let generated = (now.secs_since(flight.first_at) / step).max(0.0);
            flight.weigh(generated, lengths);
            self.add(flight, 1.0);
        }
        self.requests = flights;
        self.rebuilt_at = now;
        self.changes = 0;
    }
}

fn earlier(time: Time, secs: f64) -> Time {
    Time::from_nanos(time.as_nanos().saturating_sub(seconds(secs).as_nanos() as u64))
}

/// Saturates: times out of range become the far future, never a panic.
fn seconds(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9) as u64)
}
