//! The engine's inner state: which requests it has and how far each of them is. For the oracle of a simulation; a router
//! sees no more than [`EngineLoad`](crate::EngineLoad).

use std::time::Duration;

use router_core::Time;

use crate::job::{JobId, Sequence};
use crate::profile::StepTiming;
use crate::scheduler::{Engine, StepKind};

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobStage {
    /// In the queue or in its per-request overhead.
    Waiting,
    /// Its prompt is being computed.
    Prefill,
    /// It generates.
    Decode,
}

/// One request in the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobSnapshot {
    /// Which.
    pub id: JobId,
    /// Where it is.
    pub stage: JobStage,
    /// Its tokens so far, prompt and output.
    pub tokens: u64,
    /// Prompt tokens yet to be computed, those of the step in progress included; cached tokens are not counted.
    pub tokens_to_compute: u64,
    /// Tokens generated so far.
    pub generated: u32,
    /// Tokens yet to be generated.
    pub tokens_to_generate: u32,
}

impl Engine {
    /// Everything in the engine, as of its last step.
    pub fn jobs(&self) -> impl Iterator<Item = JobSnapshot> {
        let snapshot = |stage, s: &Sequence, tokens_to_compute| JobSnapshot {
            id: s.job.id,
            stage,
            tokens: s.tokens(),
            tokens_to_compute,
            generated: s.generated,
            tokens_to_generate: s.job.output_tokens.saturating_sub(s.generated),
        };
        let waiting = self
            .waiting
            .iter()
            .map(move |s| snapshot(JobStage::Waiting, s, self.uncached_tokens(&s.job.blocks, s.tokens())));
        let prefilling = self
            .prefilling
            .iter()
            .map(move |s| snapshot(JobStage::Prefill, s, s.tokens().saturating_sub(s.computed)));
        let running = self.running.iter().map(move |s| snapshot(JobStage::Decode, s, 0));
        running.chain(prefilling).chain(waiting)
    }

    /// Of a prompt of `tokens` tokens that begins with `blocks`, how many are not in the prefix cache.
    pub fn uncached_tokens(&self, blocks: &[u64], tokens: u64) -> u64 {
        tokens - self.kv.matched(blocks, tokens.saturating_sub(1)) as u64 * self.kv.block_tokens()
    }

    /// KV tokens that a new request could get.
    pub fn available_tokens(&self) -> u64 {
        self.kv.available()
    }

    /// Its step times now, slowdown included.
    pub fn current_timing(&self) -> StepTiming {
        self.timing.at_speed(1.0 / self.slowdown)
    }

    /// What the step in progress does and how much longer it takes.
    pub fn remaining_step(&self, now: Time) -> Option<(StepKind, Duration)> {
        self.current.map(|c| (c.step.kind, c.step.ends_at.since(now)))
    }
}
