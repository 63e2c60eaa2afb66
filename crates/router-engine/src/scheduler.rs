//! The engine loop: which step comes next, how long it takes, which events it causes.
//!
//! There are two ways to batch ([`Batching`]): SGLang's in `prefill_first`, vLLM's in `chunked`. Not modelled: speculative
//! decoding, data-parallel ranks.

mod chunked;
mod fast_forward;
mod prefill_first;
mod reserve;
mod tally;

use std::collections::VecDeque;
use std::time::Duration;

use router_core::Time;

use crate::job::{AbortedJob, Job, JobEvent, JobId, Sequence, SubmitError};
use crate::kv_cache::KvCache;
use crate::load::EngineLoad;
use crate::profile::{Batching, EngineLimits, StepTiming};
use reserve::{RESERVE_DECAY, RESERVE_FLOOR, RESERVE_START};
use tally::EngineTally;

/// What a step does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// Nothing can run before the first request's overhead is over.
    Wait,
    /// Prompts are computed; each request in the batch gets its first token.
    Prefill,
    /// Every running request gets one token.
    Decode,
    /// Both at once: every running request gets one token, and chunks of prompts are computed.
    Mixed,
}

/// The step in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it does.
    pub kind: StepKind,
    /// When it ends.
    pub ends_at: Time,
}

/// The engine has running or waiting requests, so its cache cannot be flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineBusy;

#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningStep {
    pub(crate) step: Step,
    took: Duration,
    /// The part of `took` that decoding alone would have taken; the rest is prefill.
    decode: Duration,
}

/// The cached and the uncached tokens of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptSplit {
    cached_blocks: usize,
    /// Tokens of the cached blocks.
    cached: u64,
    /// Tokens that remain to be computed.
    uncached: u64,
}

/// One engine. Drive it with [`Engine::advance`], or step by step with [`Engine::next_step`] and
/// [`Engine::complete_step`].
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) timing: StepTiming,
    pub(crate) slowdown: f64,
    limits: EngineLimits,
    pub(crate) kv: KvCache,
    clock: Time,
    pub(crate) waiting: VecDeque<Sequence>,
    /// Requests whose prompts are being computed, in the order in which they came.
    pub(crate) prefilling: Vec<Sequence>,
    /// Requests that decode.
    pub(crate) running: Vec<Sequence>,
    /// Tokens of the requests that decode.
    resident: u64,
    pub(crate) current: Option<RunningStep>,
    reserve: f64,
    tally: EngineTally,
}

impl Engine {
    /// An idle engine with an empty cache.
    pub fn new(timing: StepTiming, limits: EngineLimits) -> Self {
        Self {
            timing,
            slowdown: 1.0,
            kv: KvCache::new(limits.kv_tokens, limits.block_tokens),
            limits,
            clock: Time::ZERO,
            waiting: VecDeque::new(),
            prefilling: Vec::new(),
            running: Vec::new(),
            resident: 0,
            current: None,
            reserve: RESERVE_START,
            tally: EngineTally::default(),
        }
    }

    /// Its limits.
    pub fn limits(&self) -> &EngineLimits {
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
    /// [`SubmitError`] when the queue is full or the job could never fit; the engine is then unchanged.
    pub fn submit(&mut self, now: Time, job: Job) -> Result<(), SubmitError> {
        if self.limits.max_queued.is_some_and(|most| self.waiting.len() >= most as usize) {
            return Err(SubmitError::QueueFull);
        }
        let most =
            u64::from(job.prompt_tokens.max(1)) + u64::from(job.max_output_tokens.max(job.output_tokens));
        if most > self.limits.kv_tokens {
            return Err(SubmitError::ExceedsKv);
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
            computed: 0,
            chunk: 0,
        });
        Ok(())
    }

    /// Removes a job wherever it is; `None` when it is not here. A step in progress still takes its time.
    pub fn abort(&mut self, now: Time, id: JobId) -> Option<AbortedJob> {
        let is_it = |s: &Sequence| s.job.id == id;
        let sequence = if let Some(i) = self.waiting.iter().position(is_it) {
            self.waiting.remove(i)?
        } else if let Some(i) = self.running.iter().position(is_it) {
            let sequence = self.running.remove(i);
            self.resident -= sequence.tokens();
            sequence
        } else {
            let i = self.prefilling.iter().position(is_it)?;
            self.prefilling.remove(i)
        };
        self.kv.release(held(&sequence), sequence.private_tokens);
        let record = sequence.record(now, self.waiting.len());
        Some(if sequence.scheduled_at.is_none() {
            AbortedJob::Waiting(record)
        } else {
            AbortedJob::Running(record)
        })
    }

    /// Empties the prefix cache.
    ///
    /// # Errors
    /// [`EngineBusy`] when anything runs or waits; nothing is then dropped.
    pub fn flush_cache(&mut self) -> Result<(), EngineBusy> {
        if !self.is_idle() {
            return Err(EngineBusy);
        }
        self.kv.clear();
        Ok(())
    }

    /// Whether no job is in the engine.
    pub fn is_idle(&self) -> bool {
        self.prefilling.is_empty() && self.running.is_empty() && self.waiting.is_empty()
    }

    /// The step in progress, started at `now` when there was none; `None` when there is nothing to do.
    pub fn next_step(&mut self, now: Time) -> Option<Step> {
        if let Some(current) = &self.current {
            return Some(current.step);
        }
        self.clock = self.clock.max(now);
        let now = self.clock;
        let step = self.plan(now)?;
        self.current = Some(step);
        Some(step.step)
    }

    /// What the step that begins now does, and how long it takes.
    fn plan(&mut self, now: Time) -> Option<RunningStep> {
        let prefill = match self.limits.batching {
            Batching::PrefillFirst => self.form_prefill(now),
            Batching::Chunked { step_tokens } => self.form_chunks(now, step_tokens),
        };
        let (n, tokens) = (self.running.len(), self.resident);
        let mixed = |engine: &Self| engine.stretched(engine.timing.mixed_step(n, tokens, prefill));
        let decode = self.stretched(self.timing.decode_step(n, tokens));
        let (kind, took, decode) = match (self.limits.batching, prefill > 0, n > 0) {
            (Batching::PrefillFirst, true, _) => {
                (StepKind::Prefill, self.stretched(self.timing.prefill(prefill)), Duration::ZERO)
            }
            (Batching::Chunked { .. }, true, false) => (StepKind::Prefill, mixed(self), Duration::ZERO),
            (Batching::Chunked { .. }, true, true) => (StepKind::Mixed, mixed(self), decode),
            (_, false, true) => (StepKind::Decode, decode, decode),
            (_, false, false) => {
                self.reserve = RESERVE_START;
                (StepKind::Wait, self.waiting.front()?.queued_at.since(now), Duration::ZERO)
            }
        };
        Some(RunningStep { step: Step { kind, ends_at: now + took }, took, decode })
    }

    /// Ends the step in progress at its own end, whatever the time is now, so that lateness of the host never
    /// accumulates. Returns that end; `None` when no step was in progress.
    pub fn complete_step(&mut self, sink: &mut impl FnMut(JobEvent)) -> Option<Time> {
        let RunningStep { step, took, decode } = self.current.take()?;
        let now = step.ends_at;
        self.clock = self.clock.max(now);
        if matches!(step.kind, StepKind::Decode | StepKind::Mixed) {
            self.finish_decode(now, decode, sink);
        }
        if matches!(step.kind, StepKind::Prefill | StepKind::Mixed) {
            self.tally.prefill_busy += took.saturating_sub(decode);
            self.finish_prefill(now, sink);
        }
        Some(now)
    }

    /// Runs every step that ends by `until`, each starting where the one before ended, and leaves the next one
    /// in progress. Returns that one.
    pub fn advance(&mut self, until: Time, sink: &mut impl FnMut(JobEvent)) -> Option<Step> {
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
    pub fn load(&self) -> EngineLoad {
        let running = self.running.len() + self.prefilling.len();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        EngineLoad {
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

    fn stretched(&self, d: Duration) -> Duration {
        if self.slowdown == 1.0 {
            d
        } else {
            Duration::from_nanos((d.as_nanos() as f64 * self.slowdown).round() as u64)
        }
    }

    /// Which part of a request's tokens the prefix cache has.
    fn prompt_split(&self, sequence: &Sequence) -> PromptSplit {
        let tokens = sequence.tokens();
        // One token is always computed: the next one is sampled from it.
        let cached_blocks = self.kv.matched(&sequence.job.blocks, tokens - 1);
        let cached = cached_blocks as u64 * self.kv.block_tokens();
        PromptSplit { cached_blocks, cached, uncached: tokens - cached }
    }

    /// Moves the head of the queue to `prefilling`; its cache room has been taken. The step that begins now adds `chunk`
    /// of its tokens to the cache.
    fn start_head(&mut self, now: Time, split: PromptSplit, chunk: u64) {
        let Some(mut sequence) = self.waiting.pop_front() else { return };
        sequence.shared_blocks = split.cached_blocks;
        let work = sequence.work(chunk);
        sequence.private_tokens = chunk;
        sequence.computed = split.cached + chunk - work;
        sequence.chunk = work;
        if sequence.scheduled_at.is_none() {
            sequence.scheduled_at = Some(now);
            sequence.cached_tokens = u32::try_from(split.cached).unwrap_or(u32::MAX);
        }
        self.prefilling.push(sequence);
    }

    /// Takes everything from a request that goes back to the queue, so that it starts over.
    fn reset(&mut self, mut sequence: Sequence) -> Sequence {
        self.kv.release(held(&sequence), sequence.private_tokens);
        sequence.shared_blocks = 0;
        sequence.private_tokens = 0;
        sequence.computed = 0;
        sequence.chunk = 0;
        sequence.retractions += 1;
        self.tally.retractions += 1;
        sequence
    }

    fn finish_prefill(&mut self, now: Time, sink: &mut impl FnMut(JobEvent)) {
        for mut sequence in std::mem::take(&mut self.prefilling) {
            sequence.computed += std::mem::take(&mut sequence.chunk);
            // Blocks past the prompt or past what was computed never enter the cache.
            let full = (sequence.computed / self.kv.block_tokens()) as usize;
            let end = full.min(sequence.job.blocks.len()).max(sequence.shared_blocks);
            let fresh = &sequence.job.blocks[sequence.shared_blocks..end];
            sequence.private_tokens -= self.kv.share(fresh).min(sequence.private_tokens);
            sequence.shared_blocks = end;
            if sequence.computed < sequence.tokens() {
                self.prefilling.push(sequence);
                continue;
            }
            if sequence.job.output_tokens > sequence.generated {
                sequence.generated += 1;
                self.emit_token(now, &mut sequence, sink);
            }
            if sequence.done() {
                self.finish(now, &sequence, sink);
            } else {
                self.resident += sequence.tokens();
                self.running.push(sequence);
            }
        }
    }

    fn finish_decode(&mut self, now: Time, took: Duration, sink: &mut impl FnMut(JobEvent)) {
        let n = self.running.len();
        self.count_decode(now, took);
        let mut running = std::mem::take(&mut self.running);
        self.resident += n as u64;
        running.retain_mut(|sequence| {
            sequence.generated += 1;
            self.emit_token(now, sequence, sink);
            let done = sequence.done();
            if done {
                self.resident -= sequence.tokens();
                self.finish(now, sequence, sink);
            }
            !done
        });
        self.running = running;
    }

    /// Counts one decode step of all running requests.
    fn count_decode(&mut self, now: Time, took: Duration) {
        let n = self.running.len();
        self.tally.moments.add(n, took);
        self.reserve = (self.reserve - RESERVE_DECAY).max(RESERVE_FLOOR);
        self.tally.count_decode(now, n);
    }

    fn emit_token(&self, now: Time, sequence: &mut Sequence, sink: &mut impl FnMut(JobEvent)) {
        let id = sequence.job.id;
        if sequence.first_token_at.is_none() {
            sequence.first_token_at = Some(now);
            let (times, cached_tokens) = (sequence.times(now), sequence.cached_tokens);
            sink(JobEvent::FirstToken { id, times, cached_tokens });
        } else {
            sink(JobEvent::Token { id, generated: sequence.generated, at: now });
        }
    }

    fn finish(&mut self, now: Time, sequence: &Sequence, sink: &mut impl FnMut(JobEvent)) {
        self.kv.release(held(sequence), sequence.private_tokens);
        sink(JobEvent::Finished(sequence.record(now, self.waiting.len())));
    }
}

/// The blocks a sequence holds references on.
fn held(sequence: &Sequence) -> &[u64] {
    &sequence.job.blocks[..sequence.shared_blocks]
}
