//! The oracle: chooses with knowledge that no router has, as a bound for policies that must learn.
//!
//! It sees the exact state of each engine: true step times, running and waiting requests, how many tokens each of them
//! still has to generate, and the content of the prefix cache. It also knows the output length of the new request. From
//! that it minimises the cost that `marginal_cost` estimates: the request's own time, and the time by which it slows
//! down the requests that are there. It looks at one request at a time, so it bounds greedy policies and does not prove
//! an optimum.
//!
//! It exists only in the simulator and is not in the registry, because a live router cannot know these things.

use router_core::{PolicyError, PolicyOptions, Rng, Time, read_options};
use router_engine::{Batching, Engine, JobStage, StepKind, StepTiming};
use serde::{Deserialize, Serialize};

/// The weights of the parts of the oracle's cost, relative to the request's own time.
///
/// Of 16 pairs, the defaults had the lowest worst-case ratio to the best mean latency, over the loads of the example
/// `evidence`. A price on the delay of later requests, which `marginal_cost` has, made it worse by up to 10 %.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OracleWeights {
    /// Extra weight of a second of time to first token, which already counts as a second of latency.
    pub ttft_weight: f64,
    /// Weight of a second by which the requests in the engine are slowed down.
    pub externality_weight: f64,
}

impl Default for OracleWeights {
    fn default() -> Self {
        Self { ttft_weight: 1.0, externality_weight: 1.75 }
    }
}

impl OracleWeights {
    /// The weights that these options set; the others have their defaults.
    ///
    /// # Errors
    /// An unknown option or an invalid value; the message names the option.
    pub fn from_params(params: &PolicyOptions) -> Result<Self, PolicyError> {
        let weights: Self = read_options("oracle", params)?;
        let all = [("ttft_weight", weights.ttft_weight), ("externality_weight", weights.externality_weight)];
        match all.into_iter().find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
            Some((option, weight)) => Err(PolicyError::Options {
                policy: "oracle".to_owned(),
                message: format!("`{option}` must be 0 or more, not {weight}"),
            }),
            None => Ok(weights),
        }
    }
}

/// A request whose output length is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownRequest<'a> {
    pub(crate) prompt: u32,
    pub(crate) blocks: &'a [u64],
    pub(crate) output: u32,
}

/// Chooses servers by the exact state of their engines.
#[derive(Debug)]
pub(crate) struct Oracle {
    weights: OracleWeights,
    rng: Rng,
    /// The jobs of one engine: tokens to generate and tokens held. Reused between calls.
    jobs: Vec<(f64, f64)>,
}

/// Sums over the jobs of one engine.
#[derive(Clone, Copy, Debug, Default)]
struct EngineTotals {
    /// Requests that decode.
    decoding: f64,
    /// Requests in the batch, decoding or not.
    in_batch: f64,
    /// Requests in the queue.
    waiting: f64,
    /// Tokens held by the requests that decode.
    decode_tokens: f64,
    /// Prompt tokens to compute of the requests in the queue.
    queued_tokens: f64,
    /// Prompt tokens to compute of all requests.
    pending_tokens: f64,
}

impl Oracle {
    pub(crate) const fn new(weights: OracleWeights, seed: u64) -> Self {
        Self { weights, rng: Rng::seeded(seed), jobs: Vec::new() }
    }

    /// The index of the engine with the lowest cost for the request. The engines must have been run up to `now`.
    pub(crate) fn choose<'e>(
        &mut self,
        now: Time,
        request: &KnownRequest<'_>,
        engines: impl Iterator<Item = (usize, &'e Engine)>,
    ) -> Option<usize> {
        let (mut best, mut ties) = (None, 0);
        for (index, engine) in engines {
            let cost = self.cost(now, request, engine);
            match best {
                Some((least, _)) if cost > least => {}
                Some((least, _)) if cost == least => {
                    ties += 1;
                    if self.rng.below(ties) == 0 {
                        best = Some((cost, index));
                    }
                }
                _ => (best, ties) = (Some((cost, index)), 1),
            }
        }
        best.map(|(_, index)| index)
    }

    /// The cost of the request on this engine, to itself and to the others, in weighted seconds.
    fn cost(&mut self, now: Time, request: &KnownRequest<'_>, engine: &Engine) -> f64 {
        let timing = engine.current_timing();
        let prompt = u64::from(request.prompt.max(1));
        let uncached = engine.uncached_tokens(request.blocks, prompt) as f64;
        let totals = self.read_jobs(engine);
        let step = timing.decode_base
            + timing.decode_per_request * totals.decoding
            + timing.decode_per_token * totals.decode_tokens;
        let (queue, stall) = prefill(now, engine, &timing, &totals, uncached);
        let wait_steps = self.admission_steps(engine, &totals, uncached + f64::from(request.output));
        let ttft = timing.request_overhead + queue + stall + wait_steps * step;

        // Decode steps of the request, and the steps that each other request shares with it.
        let steps = f64::from(request.output.saturating_sub(1));
        let held = prompt as f64 + 0.5 * steps;
        let alone = steps * (timing.decode_base + timing.decode_per_request + timing.decode_per_token * held);
        let (mut from_others, mut on_others) = (0.0, 0.0);
        for &(rest, tokens) in &self.jobs {
            let shared = (rest - wait_steps).clamp(0.0, steps);
            let grown = 0.5 * shared;
            from_others += shared * (timing.decode_per_request + timing.decode_per_token * (tokens + grown));
            on_others +=
                shared * (timing.decode_per_request + timing.decode_per_token * (prompt as f64 + grown));
        }
        let own = ttft + alone + from_others;
        let externality = (totals.in_batch + totals.waiting) * stall + on_others;
        own + self.weights.ttft_weight * ttft + self.weights.externality_weight * externality
    }

    fn read_jobs(&mut self, engine: &Engine) -> EngineTotals {
        let mut totals = EngineTotals::default();
        self.jobs.clear();
        for job in engine.jobs() {
            let tokens = job.tokens as f64;
            self.jobs.push((f64::from(job.tokens_to_generate), tokens));
            totals.pending_tokens += job.tokens_to_compute as f64;
            match job.stage {
                JobStage::Decode => {
                    totals.decoding += 1.0;
                    totals.in_batch += 1.0;
                    totals.decode_tokens += tokens;
                }
                JobStage::Prefill => totals.in_batch += 1.0,
                JobStage::Waiting => {
                    totals.waiting += 1.0;
                    totals.queued_tokens += job.tokens_to_compute as f64;
                }
            }
        }
        totals
    }

    /// Decode steps until there is a batch slot and cache room for a request that will hold `held` tokens.
    fn admission_steps(&mut self, engine: &Engine, totals: &EngineTotals, held: f64) -> f64 {
        let mut tokens = totals.queued_tokens + held - engine.available_tokens() as f64;
        let mut slots = totals.in_batch + totals.waiting + 1.0 - f64::from(engine.limits().max_running);
        if tokens <= 0.0 && slots <= 0.0 {
            return 0.0;
        }
        let mut by_end = self.jobs.clone();
        by_end.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (rest, held) in by_end {
            tokens -= held;
            slots -= 1.0;
            if tokens <= 0.0 && slots <= 0.0 {
                return rest;
            }
        }
        f64::from(u16::MAX)
    }
}

/// Seconds before the request's own prefill starts, and seconds by which its prefill stalls the other requests.
fn prefill(
    now: Time,
    engine: &Engine,
    timing: &StepTiming,
    totals: &EngineTotals,
    uncached: f64,
) -> (f64, f64) {
    let residual = engine.remaining_step(now).filter(|(kind, _)| *kind != StepKind::Wait);
    let residual = residual.map_or(0.0, |(_, left)| left.as_secs_f64());
    match engine.limits().batching {
        Batching::PrefillFirst => {
            let shares = totals.waiting > 0.0;
            let batch = if shares { timing.prefill_base } else { 0.0 };
            let own = if shares { 0.0 } else { timing.prefill_base };
            let queue = residual + batch + timing.prefill_per_token * totals.queued_tokens;
            (queue, own + timing.prefill_per_token * uncached)
        }
        Batching::Chunked { step_tokens } => {
            let budget = f64::from(step_tokens.max(engine.limits().max_running)) - totals.decoding;
            let steps = ((totals.pending_tokens + uncached) / budget.max(1.0)).ceil();
            let fixed = timing.decode_base.max(timing.prefill_base)
                + timing.decode_per_request * totals.decoding
                + timing.decode_per_token * totals.decode_tokens;
            let queue = residual + steps * fixed + timing.prefill_per_token * totals.pending_tokens;
            (queue, timing.prefill_per_token * uncached)
        }
    }
}
