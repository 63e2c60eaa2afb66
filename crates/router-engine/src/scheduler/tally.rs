//! Sums for [`EngineLoad`](crate::EngineLoad).

use std::time::Duration;

use router_core::Time;

use crate::load::DecodeMoments;

/// Decode steps between two updates of the throughput gauge, as SGLang's `decode_log_interval`.
const GAUGE_STEPS: u32 = 40;

/// Sums since the engine's start.
#[derive(Clone, Debug, Default)]
pub(super) struct EngineTally {
    pub(super) uncached: u64,
    pub(super) cached: u64,
    pub(super) prefill_busy: Duration,
    pub(super) moments: DecodeMoments,
    pub(super) retractions: u64,
    pub(super) hit_rate: f64,
    pub(super) throughput: f64,
    gauge_tokens: u64,
    gauge_steps: u32,
    gauge_since: Time,
}

/// Prompt tokens of the requests that are admitted together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheHits {
    cached: u64,
    uncached: u64,
}

impl CacheHits {
    pub(super) fn add(&mut self, cached: u64, uncached: u64) {
        self.cached += cached;
        self.uncached += uncached;
    }
}

impl EngineTally {
    /// Counts the prompts of one prefill batch.
    pub(super) fn count_prefill(&mut self, hits: CacheHits) {
        if hits.uncached > 0 {
            self.cached += hits.cached;
            self.uncached += hits.uncached;
            self.hit_rate = hits.cached as f64 / (hits.cached + hits.uncached) as f64;
        }
    }

    /// Counts a decode step that generated `n` tokens, for the throughput gauge.
    pub(super) fn count_decode(&mut self, now: Time, n: usize) {
        self.gauge_tokens += n as u64;
        self.gauge_steps += 1;
        if self.gauge_steps >= GAUGE_STEPS {
            let span = now.secs_since(self.gauge_since);
            self.throughput = if span > 0.0 { self.gauge_tokens as f64 / span } else { 0.0 };
            (self.gauge_tokens, self.gauge_steps, self.gauge_since) = (0, 0, now);
        }
    }
}
