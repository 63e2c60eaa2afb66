//! Step times of real engines, and the limits they run under.
//!
//! The timing constants were fitted to measured runs; a test compares each with the fit's own file in
//! `tests/data/engine_models.json`. The limits are round numbers of ours, chosen to be plausible for the card,
//! not measured.

use std::time::Duration;

/// Coefficients of the step time model, all in seconds.
///
/// A decode step of n requests holding C tokens takes `a + b*n + k*C`; a prefill batch of u uncached tokens
/// takes `p0 + p1*u`; each request spends `c0` once outside the engine loop.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepTiming {
    /// a: decode step, fixed part.
    pub decode_base: f64,
    /// b: decode step, per running request.
    pub decode_per_request: f64,
    /// k: decode step, per resident KV token.
    pub decode_per_token: f64,
    /// p0: prefill batch, fixed part.
    pub prefill_base: f64,
    /// p1: prefill batch, per uncached prompt token.
    pub prefill_per_token: f64,
    /// c0: once per request, before it can be scheduled.
    pub request_overhead: f64,
}

impl StepTiming {
    /// Time of one decode step of `requests` sequences that hold `tokens` tokens together.
    pub fn decode_step(&self, requests: usize, tokens: u64) -> Duration {
        seconds(
            self.decode_base
                + self.decode_per_request * requests as f64
                + self.decode_per_token * tokens as f64,
        )
    }

    /// Time of a prefill batch that computes `uncached_tokens` tokens.
    pub fn prefill(&self, uncached_tokens: u64) -> Duration {
        seconds(self.prefill_base + self.prefill_per_token * uncached_tokens as f64)
    }

    /// Time of a step that decodes as [`decode_step`](Self::decode_step) and also computes `uncached_tokens` prompt tokens.
    /// The weights are read once, so only the larger of the two fixed parts counts.
    pub fn mixed_step(&self, requests: usize, tokens: u64, uncached_tokens: u64) -> Duration {
        seconds(
            self.decode_base.max(self.prefill_base)
                + self.decode_per_request * requests as f64
                + self.decode_per_token * tokens as f64
                + self.prefill_per_token * uncached_tokens as f64,
        )
    }

    /// The per-request overhead.
    pub fn overhead(&self) -> Duration {
        seconds(self.request_overhead)
    }

    /// The same engine `speed` times as fast. A speed that is not a positive number changes nothing.
    #[must_use]
    pub fn at_speed(mut self, speed: f64) -> Self {
        if speed.is_finite() && speed > 0.0 {
            for term in [
                &mut self.decode_base,
                &mut self.decode_per_request,
                &mut self.decode_per_token,
                &mut self.prefill_base,
                &mut self.prefill_per_token,
                &mut self.request_overhead,
            ] {
                *term /= speed;
            }
        }
        self
    }

    const fn of(decode: [f64; 3], prefill: [f64; 2], request_overhead: f64) -> Self {
        let ([decode_base, decode_per_request, decode_per_token], [prefill_base, prefill_per_token]) =
            (decode, prefill);
        Self {
            decode_base,
            decode_per_request,
            decode_per_token,
            prefill_base,
            prefill_per_token,
            request_overhead,
        }
    }

    /// A per-layer fit in milliseconds, `[a, b, p0, p1]`, stretched to the 60 layers of the model.
    const fn of_layers([a, b, p0, p1]: [f64; 4]) -> Self {
        const SCALE: f64 = 60.0 * 1e-3;
        Self::of([a * SCALE, b * SCALE, 0.0], [p0 * SCALE, p1 * SCALE], 0.0)
    }
}

/// A float cast saturates, so a negative time becomes zero and a huge one the maximum; it never panics.
fn seconds(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9).round() as u64)
}

/// How prompts and decoding share the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Batching {
    /// Prompts run whole, in batches of their own, before any decode step: SGLang's default for prompts below its
    /// chunk size.
    PrefillFirst,
    /// Every step decodes and spends the rest of its tokens on chunks of prompts: vLLM's default.
    Chunked {
        /// Tokens of a step, decoded and prompt tokens together; never fewer than [`EngineLimits::max_running`]. vLLM's
        /// `max_num_batched_tokens`, 2048 on a usual card and 8192 on one with 70 GiB or more.
        step_tokens: u32,
    },
}

/// The limits of an engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineLimits {
    /// KV cache capacity in tokens.
    pub kv_tokens: u64,
    /// Most requests decoded together.
    pub max_running: u32,
    /// Most requests waiting; `None` = no bound.
    pub max_queued: Option<u32>,
    /// Most uncached tokens in one prefill batch; a longer prompt gets a batch of its own. Default 16384, as
    /// SGLang's `max_prefill_tokens`. Without effect where prompts are cut into chunks.
    pub max_prefill_tokens: u32,
    /// How prompts and decoding share the engine. Default: as the engine does that was measured.
    pub batching: Batching,
    /// Tokens per block of the prefix cache. Default 16.
    pub block_tokens: u32,
    /// Longest prompt plus output in tokens that the model takes. The host checks it, not the engine.
    pub context_tokens: u32,
}

impl EngineLimits {
    const fn of(kv_tokens: u64, max_running: u32) -> Self {
        Self {
            kv_tokens,
            max_running,
            max_queued: None,
            max_prefill_tokens: 16_384,
            batching: Batching::PrefillFirst,
            block_tokens: 16,
            context_tokens: 32_768,
        }
    }

    /// These limits with prompts cut into chunks.
    const fn chunked(self, step_tokens: u32) -> Self {
        Self { batching: Batching::Chunked { step_tokens }, ..self }
    }
}

/// A named engine.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EngineProfile {
    /// Name as users type it.
    pub name: &'static str,
    /// What was measured, in words.
    pub about: &'static str,
    /// Step times.
    pub timing: StepTiming,
    /// Its limits.
    pub limits: EngineLimits,
}

impl EngineProfile {
    /// The profile of that name.
    pub fn named(name: &str) -> Option<Self> {
        PROFILES.iter().find(|p| p.name == name).copied()
    }

    /// The same engine `speed` times as fast.
    #[must_use]
    pub fn at_speed(self, speed: f64) -> Self {
        Self { timing: self.timing.at_speed(speed), ..self }
    }

    const fn of(name: &'static str, about: &'static str, timing: StepTiming, limits: EngineLimits) -> Self {
        Self { name, about, timing, limits }
    }
}

/// Every named profile.
///
/// Where the fit gives no prefill terms but `p_decode_interference_per_tok` (the vLLM 0.19 and H200 ones, whose prefill
/// is mixed into decode steps), that number is taken as p1: the time that a prompt token adds to a step of all running requests. These profiles cut
/// prompts into chunks, the others prefill first.
pub const PROFILES: &[EngineProfile] = &[
    EngineProfile::of(
        "sglang_8b",
        "SGLang, Llama 3 8B, one GPU",
        StepTiming::of([0.00677, 1.5e-05, 3.7e-08], [0.006, 1.66e-05], 0.0053),
        EngineLimits::of(400_000, 256),
    ),
    EngineProfile::of(
        "sglang_1.5b",
        "SGLang, R1 Distill Qwen 1.5B, one GPU",
        StepTiming::of([0.00265, 0.0, 2.4e-08], [0.0036, 2.19e-05], 0.0034),
        EngineLimits::of(1_000_000, 256),
    ),
    EngineProfile::of(
        "rtxpro6000",
        "vLLM 0.19, RTX PRO 6000, Llama 3.1 8B",
        StepTiming::of([0.01107, 7.18e-05, 5.7e-08], [0.0, 4.1e-05], 0.0),
        EngineLimits::of(500_000, 256).chunked(8192),
    ),
    EngineProfile::of(
        "rtxpro6000_32b",
        "vLLM 0.19, 2x RTX PRO 6000, Qwen3 32B",
        StepTiming::of([0.0233, 0.0002119, 6.7e-08], [0.0, 0.000184], 0.0),
        EngineLimits::of(400_000, 256).chunked(8192),
    ),
    EngineProfile::of(
        "rtxpro6000_moe",
        "vLLM 0.19, 2x RTX PRO 6000, Qwen3 30B-A3B",
        StepTiming::of([0.01587, 0.0, 9.2e-08], [0.0, 4.6e-05], 0.0),
        EngineLimits::of(600_000, 256).chunked(8192),
    ),
    EngineProfile::of(
        "rtx4090",
        "vLLM 0.19, RTX 4090 (24 GB), Llama 3.1 8B",
        StepTiming::of([0.0115, 7.9e-05, 3.1e-07], [0.0, 9.2e-05], 0.0),
        EngineLimits::of(42_000, 128).chunked(2048),
    ),
    EngineProfile::of(
        "h200",
        "vLLM, H200, Llama 3.1 8B FP8",
        StepTiming::of([0.00445, 2.22e-05, 3.16e-08], [0.0, 2.21e-05], 0.0),
        EngineLimits::of(900_000, 512).chunked(8192),
    ),
    EngineProfile::of(
        "h100_70b",
        "Splitwise, 8x H100, Llama 2 70B",
        StepTiming::of([0.03007, 0.000302, 0.0], [0.0018, 9.94e-05], 0.0),
        EngineLimits::of(1_200_000, 256),
    ),
    EngineProfile::of(
        "a100_70b",
        "Splitwise, 8x A100, Llama 2 70B",
        StepTiming::of([0.0444, 0.000389, 0.0], [0.0, 0.0001815], 0.0),
        EngineLimits::of(1_200_000, 256),
    ),
    EngineProfile::of(
        "a100",
        "Helix, A100, Llama 30B (60 layers)",
        StepTiming::of_layers([0.736, 0.0203, 0.44, 0.00437]),
        EngineLimits::of(60_000, 64),
    ),
    EngineProfile::of(
        "v100",
        "Helix, V100, Llama 30B (60 layers)",
        StepTiming::of_layers([2.243, 0.0352, 0.0, 0.01346]),
        EngineLimits::of(60_000, 64),
    ),
    EngineProfile::of(
        "l4",
        "Helix, L4, Llama 30B (60 layers)",
        StepTiming::of_layers([4.483, 0.0995, 4.0, 0.02024]),
        EngineLimits::of(60_000, 64),
    ),
    EngineProfile::of(
        "t4",
        "Helix, T4, Llama 30B (60 layers)",
        StepTiming::of_layers([4.404, 0.1073, 0.0, 0.04248]),
        EngineLimits::of(60_000, 64),
    ),
];
