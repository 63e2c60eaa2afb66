//! The engine's load: gauges and running sums.
//!
//! The sums are those of `/v1/loads` of SGLang 0.5.23. The prefill cost per token and the decode step time follow from
//! them.

use std::time::Duration;

/// Running sums over all decode steps, in the order of `decode_moments` of SGLang's `/v1/loads`. The order was
/// found in real responses: 6 steps of one request gave `[6, 6, us, 6, us, 6]`, 73 steps of two and 29 of one
/// gave `[102, 175, us, 321, .., 175]`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct DecodeMoments {
    /// Decode steps.
    pub steps: f64,
    /// Sum of the batch size n over the steps.
    pub requests: f64,
    /// Sum of the step time in microseconds.
    pub busy_us: f64,
    /// Sum of n squared.
    pub requests_squared: f64,
    /// Sum of n times the step time in microseconds.
    pub requests_busy_us: f64,
    /// Tokens generated in decode steps.
    pub tokens: f64,
}

impl DecodeMoments {
    pub(crate) fn add(&mut self, n: usize, took: Duration) {
        let (n, us) = (n as f64, took.as_secs_f64() * 1e6);
        self.steps += 1.0;
        self.requests += n;
        self.busy_us += us;
        self.requests_squared += n * n;
        self.requests_busy_us += n * us;
        self.tokens += n;
    }

    /// The sums in wire order.
    pub fn to_array(&self) -> [f64; 6] {
        [self.steps, self.requests, self.busy_us, self.requests_squared, self.requests_busy_us, self.tokens]
    }
}

/// The engine's load at one instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EngineLoad {
    /// Requests in the running batch or in a prefill right now.
    pub running: u32,
    /// Requests waiting, those still in their per-request overhead included.
    pub waiting: u32,
    /// Prompt tokens of the waiting requests.
    pub waiting_tokens: u64,
    /// KV tokens held by running requests.
    pub used_tokens: u64,
    /// KV tokens of idle blocks in the prefix cache.
    pub evictable_tokens: u64,
    /// KV capacity in tokens.
    pub capacity_tokens: u64,
    /// Sum of the running requests' lengths in tokens, shared prefixes counted once per request.
    pub resident_tokens: u64,
    /// `used_tokens / capacity_tokens`, 0 to 1.
    pub kv_usage: f64,
    /// Tokens per second over the last 40 decode steps; 0 when nothing runs.
    pub gen_throughput: f64,
    /// Cached share of the last prefill batch's prompt tokens, 0 to 1.
    pub cache_hit_rate: f64,
    /// Prompt tokens computed since the start.
    pub prefill_uncached_tokens: u64,
    /// Prompt tokens taken from the prefix cache since the start.
    pub prefill_cached_tokens: u64,
    /// Time spent in prefill batches since the start.
    pub prefill_busy: Duration,
    /// Running sums over decode steps.
    pub decode_moments: DecodeMoments,
    /// Requests retracted since the start because the KV cache was full.
    pub retractions: u64,
}
