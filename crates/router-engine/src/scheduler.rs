//! The engine loop: which step comes next, how long it takes, what comes out of it.
//!
//! Scheduling follows SGLang's default: first come first served, a prefill batch is formed whenever a waiting
//! request fits and runs before any decode, decode waits meanwhile. Not modelled: prompts cut into chunks and
//! mixed with decode (vLLM), speculative decoding, data-parallel ranks.

mod jump;

use std::collections::VecDeque;
use std::time::Duration;

use router_core::Time;

use crate::job::{Aborted, Job, JobId, Progress, Refused, Sequence};
use crate::kv_cache::KvCache;
use crate::load::{DecodeMoments, Load};
use crate::profile::{Limits, Timing};

/// Share of the allowed output reserved per request at admission: it starts high, falls while decoding goes
/// well and is reset by a retraction. The values are SGLang's `init_new_token_ratio`, its minimum (a factor of
/// 0.14) and its 600 steps of decay.
const RESERVE_START: f64 = 0.7;
const RESERVE_FLOOR: f64 = 0.098;
const RESERVE_DECAY: f64 = (RESERVE_START - RESERVE_FLOOR) / 600.0;
/// Longest output one reservation looks ahead, as SGLang's `CLIP_MAX_NEW_TOKENS`.
const RESERVE_CLIP: u64 = 4096;
/// Decode steps between two updates of the throughput gauge, as SGLang's `decode_log_interval`.
const GAUGE_STEPS: u32 = 40;

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// Nothing can run before the first request's overhead is over.
    Wait,
    /// Prompts are computed; each request in the batch gets its first token.
    Prefill,
    /// Every running request gets one token.
    Decode,
}

/// The step in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// When its result is there.
    pub ends_at: Time,
}

/// The engine has running or waiting requests, so its cache cannot be flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Busy;

#[derive(Clone, Debug)]
struct InProgress {
    step: Step,
    took: Duration,
    /// The prompts being computed; empty unless the step is a prefill.
    prefill: Vec<Sequence>,
}

/// Sums for [`Load`].
#[derive(Clone, Debug, Default)]
struct Tally {
    uncached: u64,
    cached: u64,
    prefill_busy: Duration,
    moments: DecodeMoments,
    retractions: u64,
    hit_rate: f64,
    throughput: f64,
    gauge_tokens: u64,
    gauge_steps: u32,
    gauge_since: Time,
}

/// One engine. Drive it with [`Engine::advance`], or step by step with [`Engine::next_step`] and
/// [`Engine::complete_step`].
#[derive(Clone, Debug)]
pub struct Engine {
    timing: Timing,
    slowdown: f64,
    limits: Limits,
    kv: KvCache,
    clock: Time,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    resident: u64,
    current: Option<InProgress>,
    reserve: f64,
    tally: Tally,
}

impl Engine {
    /// An idle engine with an empty cache.
    pub fn new(timing: Timing, limits: Limits) -> Self {
        Self {
            timing,
            slowdown: 1.0,
            kv: KvCache::new(limits.kv_tokens, limits.block_tokens),
            limits,
            clock: Time::ZERO,
            waiting: VecDeque::new(),
            running: Vec::new(),
            resident: 0,
            current: None,
            reserve: RESERVE_START,
            tally: Tally::default(),
        }
    }

    /// Its bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Makes every step started from now on `factor` times as long (1 = normal). Other values than positive
    /// numbers are ignored.
    pub fn set_slowdown(&mut self, factor: f64) {
        if factor.is_finite() && factor > 0.0 {
            self.slowdown = factor;
        }
    }

    /// Takes a job at `now`. Bring the engine up to `now` with [`Engine::advance`] first.
    ///
    /// # Errors
    /// [`Refused`] when the queue is full or the job could never fit; the engine is then unchanged.
    pub fn submit(&mut self, now: Time, job: Job) -> Result<(), Refused> {
        if self.limits.max_queued.is_some_and(|most| self.waiting.len() >= most as usize) {
            return Err(Refused::QueueFull);
        }
        let most =
            u64::from(job.prompt_tokens.max(1)) + u64::from(job.max_output_tokens.max(job.output_tokens));
        if most > self.limits.kv_tokens {
            return Err(Refused::ExceedsKv);
        }
        self.clock = self.clock.max(now);
        self.waiting.push_back(Sequence {
            queued_at: now + self.stretched(self.timing.overhead()),
            submitted_at: now,
            job,
            generated: 0,
            scheduled_at: None,
            first_token_at: None,
            cached_tokens: 0,
            retractions: 0,
            shared_blocks: 0,
            private_tokens: 0,
        });
        Ok(())
    }

    /// Removes a job wherever it is; `None` when it is not here. A step in progress still takes its time.
    pub fn abort(&mut self, now: Time, id: JobId) -> Option<Aborted> {
        let is_it = |s: &Sequence| s.job.id == id;
        let sequence = if let Some(i) = self.waiting.iter().position(is_it) {
            self.waiting.remove(i)?
        } else if let Some(i) = self.running.iter().position(is_it) {
            let sequence = self.running.remove(i);
            self.resident -= sequence.tokens();
            sequence
        } else {
            let batch = &mut self.current.as_mut()?.prefill;
            let i = batch.iter().position(is_it)?;
            batch.remove(i)
        };
        self.kv.release(held(&sequence), sequence.private_tokens);
        let record = sequence.record(now, self.waiting.len());
        Some(if sequence.scheduled_at.is_none() {
            Aborted::Waiting(record)
        } else {
            Aborted::Running(record)
        })
    }

    /// Empties the prefix cache.
    ///
    /// # Errors
    /// [`Busy`] when anything runs or waits; nothing is then dropped.
    pub fn flush_cache(&mut self) -> Result<(), Busy> {
        if !self.is_idle() {
            return Err(Busy);
        }
        self.kv.clear();
        Ok(())
    }

    /// Whether no job is in the engine.
    pub fn is_idle(&self) -> bool {
        self.in_prefill() == 0 && self.running.is_empty() && self.waiting.is_empty()
    }

    /// The step in progress, started at `now` when there was none; `None` when there is nothing to do.
    pub fn next_step(&mut self, now: Time) -> Option<Step> {
        if let Some(current) = &self.current {
            return Some(current.step);
        }
        self.clock = self.clock.max(now);
        let now = self.clock;
        let prefill = self.form_prefill(now);
        let (kind, took) = if !prefill.is_empty() {
            let computed = prefill.iter().filter(|s| !s.job.prefilled);
            let uncached = computed.map(|s| s.private_tokens).sum();
            (StepKind::Prefill, self.stretched(self.timing.prefill(uncached)))
        } else if !self.running.is_empty() {
            self.make_room();
            let tokens = self.resident;
            (StepKind::Decode, self.stretched(self.timing.decode_step(self.running.len(), tokens)))
        } else {
            self.reserve = RESERVE_START;
            (StepKind::Wait, self.waiting.front()?.queued_at.since(now))
        };
        let step = Step { kind, ends_at: now + took };
        self.current = Some(InProgress { step, took, prefill });
        Some(step)
    }

    /// Ends the step in progress at its own end, whatever the time is now, so that lateness of the host never
    /// accumulates. Returns that end; `None` when no step was in progress.
    pub fn complete_step(&mut self, sink: &mut impl FnMut(Progress)) -> Option<Time> {
        let InProgress { step, took, prefill } = self.current.take()?;
        let now = step.ends_at;
        self.clock = self.clock.max(now);
        match step.kind {
            StepKind::Wait => {}
            StepKind::Prefill => {
                self.tally.prefill_busy += took;
                self.finish_prefill(now, prefill, sink);
            }
            StepKind::Decode => self.finish_decode(now, took, sink),
        }
        Some(now)
    }

    /// Runs every step that ends by `until`, each starting where the one before ended, and leaves the next one
    /// in progress. Returns that one.
    pub fn advance(&mut self, until: Time, sink: &mut impl FnMut(Progress)) -> Option<Step> {
        loop {
            let step = self.next_step(self.clock);
            match step {
                Some(step) if step.ends_at <= until => {
                    self.complete_step(sink);
                }
                _ => {
                    // An idle engine has no step that carries its time on.
                    if step.is_none() {
                        self.clock = self.clock.max(until);
                    }
                    return step;
                }
            }
        }
    }

    /// The load now.
    pub fn load(&self) -> Load {
        let running = self.running.len() + self.in_prefill();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Load {
            running: count(running),
            waiting: count(self.waiting.len()),
            waiting_tokens: self.waiting.iter().map(Sequence::tokens).sum(),
            used_tokens: self.kv.used(),
            evictable_tokens: self.kv.evictable(),
            capacity_tokens: self.kv.capacity(),
            resident_tokens: self.resident,
            kv_usage: if self.kv.capacity() == 0 {
                0.0
            } else {
                self.kv.used() as f64 / self.kv.capacity() as f64
            },
            gen_throughput: if running == 0 { 0.0 } else { self.tally.throughput },
            cache_hit_rate: self.tally.hit_rate,
            prefill_uncached_tokens: self.tally.uncached,
            prefill_cached_tokens: self.tally.cached,
            prefill_busy: self.tally.prefill_busy,
            decode_moments: self.tally.moments,
            retractions: self.tally.retractions,
        }
    }

    fn in_prefill(&self) -> usize {
        self.current.as_ref().map_or(0, |c| c.prefill.len())
    }

    fn stretched(&self, d: Duration) -> Duration {
        if self.slowdown == 1.0 {
            d
        } else {
            Duration::from_nanos((d.as_nanos() as f64 * self.slowdown).round() as u64)
        }
    }

    fn growth(&self, sequence: &Sequence) -> u64 {
        (sequence.may_grow().min(RESERVE_CLIP) as f64 * self.reserve) as u64
    }

    /// Takes from the head of the queue what fits the batch size, the token budget and the KV cache.
    fn form_prefill(&mut self, now: Time) -> Vec<Sequence> {
        let mut batch: Vec<Sequence> = Vec::new();
        if self.waiting.is_empty() || self.running.len() >= self.limits.max_running as usize {
            return batch;
        }
        let mut budget = u64::from(self.limits.max_prefill_tokens);
        let mut reserved: u64 = self.running.iter().map(|s| self.growth(s)).sum();
        let (mut cached_sum, mut uncached_sum) = (0, 0);
        while let Some(head) = self.waiting.front() {
            if head.queued_at > now || self.running.len() + batch.len() >= self.limits.max_running as usize {
                break;
            }
            let tokens = head.tokens();
            // One token is always computed, or there would be nothing to sample from.
            let matched = self.kv.matched(&head.job.blocks, tokens - 1);
            let cached = matched as u64 * self.kv.block_tokens();
            let uncached = tokens - cached;
            let alone = self.running.is_empty() && batch.is_empty();
            // A lone request passed the size check at submission, so it needs no headroom to get through.
            reserved += self.growth(head);
            let headroom = if alone { 0 } else { reserved };
            let computed = if head.job.prefilled { 0 } else { uncached };
            if (!batch.is_empty() && computed > budget)
                || !self.kv.admit(&head.job.blocks[..matched], uncached, headroom)
            {
                break;
            }
            let Some(mut sequence) = self.waiting.pop_front() else { break };
            sequence.shared_blocks = matched;
            sequence.private_tokens = uncached;
            if sequence.scheduled_at.is_none() {
                sequence.scheduled_at = Some(now);
                sequence.cached_tokens = u32::try_from(cached).unwrap_or(u32::MAX);
            }
            budget = budget.saturating_sub(computed);
            (cached_sum, uncached_sum) = (cached_sum + cached, uncached_sum + computed);
            batch.push(sequence);
        }
        if uncached_sum > 0 {
            self.tally.cached += cached_sum;
            self.tally.uncached += uncached_sum;
            self.tally.hit_rate = cached_sum as f64 / (cached_sum + uncached_sum) as f64;
        }
        batch
    }

    /// Reserves one KV token per running request, retracting some when the cache is full.
    fn make_room(&mut self) {
        while !self.kv.grow(self.running.len() as u64) && self.running.len() > 1 {
            self.retract_one();
        }
        for sequence in &mut self.running {
            sequence.private_tokens += 1;
        }
    }

    /// Sends the request that loses least (fewest tokens generated, then longest prompt) to the end of the
    /// queue, as SGLang does.
    fn retract_one(&mut self) {
        let by_loss = |(_, s): &(usize, &Sequence)| (s.generated, u32::MAX - s.job.prompt_tokens);
        let Some((i, _)) = self.running.iter().enumerate().min_by_key(by_loss) else { return };
        let mut sequence = self.running.remove(i);
        self.resident -= sequence.tokens();
        self.kv.release(held(&sequence), sequence.private_tokens);
        sequence.shared_blocks = 0;
        sequence.private_tokens = 0;
        sequence.retractions += 1;
        self.tally.retractions += 1;
        self.reserve = RESERVE_START;
        self.waiting.push_back(sequence);
    }

    fn finish_prefill(&mut self, now: Time, batch: Vec<Sequence>, sink: &mut impl FnMut(Progress)) {
        for mut sequence in batch {
            // Blocks past the prompt or past what was computed never enter the cache.
            let full = (sequence.tokens() / self.kv.block_tokens()) as usize;
            let end = full.min(sequence.job.blocks.len()).max(sequence.shared_blocks);
            let fresh = &sequence.job.blocks[sequence.shared_blocks..end];
            sequence.private_tokens -= self.kv.share(fresh).min(sequence.private_tokens);
            sequence.shared_blocks = end;
            if sequence.job.output_tokens > sequence.generated {
                sequence.generated += 1;
                self.announce(now, &mut sequence, sink);
            }
            if sequence.done() {
                self.retire(now, &sequence, sink);
            } else {
                self.resident += sequence.tokens();
                self.running.push(sequence);
            }
        }
    }

    fn finish_decode(&mut self, now: Time, took: Duration, sink: &mut impl FnMut(Progress)) {
        let n = self.running.len();
        self.count_decode(now, took);
        let mut running = std::mem::take(&mut self.running);
        self.resident += n as u64;
        running.retain_mut(|sequence| {
            sequence.generated += 1;
            self.announce(now, sequence, sink);
            let done = sequence.done();
            if done {
                self.resident -= sequence.tokens();
                self.retire(now, sequence, sink);
            }
            !done
        });
        self.running = running;
    }

    /// Books one decode step of all that runs.
    fn count_decode(&mut self, now: Time, took: Duration) {
        let n = self.running.len();
        self.tally.moments.add(n, took);
        self.reserve = (self.reserve - RESERVE_DECAY).max(RESERVE_FLOOR);
        self.update_gauge(now, n);
    }

    fn announce(&self, now: Time, sequence: &mut Sequence, sink: &mut impl FnMut(Progress)) {
        let id = sequence.job.id;
        if sequence.first_token_at.is_none() {
            sequence.first_token_at = Some(now);
            let (times, cached_tokens) = (sequence.times(now), sequence.cached_tokens);
            sink(Progress::FirstToken { id, times, cached_tokens });
        } else {
            sink(Progress::Token { id, generated: sequence.generated, at: now });
        }
    }

    fn retire(&mut self, now: Time, sequence: &Sequence, sink: &mut impl FnMut(Progress)) {
        self.kv.release(held(sequence), sequence.private_tokens);
        sink(Progress::Finished(sequence.record(now, self.waiting.len())));
    }

    fn update_gauge(&mut self, now: Time, n: usize) {
        let tally = &mut self.tally;
        tally.gauge_tokens += n as u64;
        tally.gauge_steps += 1;
        if tally.gauge_steps >= GAUGE_STEPS {
            let span = now.secs_since(tally.gauge_since);
            tally.throughput = if span > 0.0 { tally.gauge_tokens as f64 / span } else { 0.0 };
            (tally.gauge_tokens, tally.gauge_steps, tally.gauge_since) = (0, 0, now);
        }
    }
}

/// The blocks a sequence holds references on.
fn held(sequence: &Sequence) -> &[u64] {
    &sequence.job.blocks[..sequence.shared_blocks]
}
