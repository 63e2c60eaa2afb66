//! The oracle: chooses with everything known that a router cannot know, as a bound for those that must learn.
//!
//! It sees each engine as it is: its true step times, what runs and waits in it, how many tokens each request has yet to
//! generate, what its prefix cache holds; and it knows how long the new answer will be. On that it minimises the cost
//! that `marginal_cost` estimates: the request's own time and what it slows down those that are there. It looks at one
//! request at a time, so it bounds greedy rules; it is no proof of an optimum.
//!
//! It exists in the simulator alone and is no policy of the registry: nothing could tell it these things live.

use router_core::{PolicyError, PolicyOptions, Rng, Time, read_options};
use router_engine::{Batching, Engine, JobStage, StepKind, StepTiming};
use serde::{Deserialize, Serialize};

/// What each part of the oracle's cost weighs beside the request's own time.
///
/// The defaults had the lowest worst ratio to the best of 16 pairs in mean latency over the loads of the example
/// `evidence`. A price on the delay of those that come next, as `marginal_cost` has, only made it worse (up to 10 %).
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OracleWeights {
    /// A second until the first token, beyond being a second of latency.
    pub ttft_weight: f64,
    /// A second by which those already there are slowed down.
    pub externality_weight: f64,
}

impl Default for OracleWeights {
    fn default() -> Self {
        Self { ttft_weight: 1.0, externality_weight: 1.75 }
    }
}

impl OracleWeights {
    /// The weights that these knobs set; the others have their defaults.
    ///
    /// # Errors
    /// A message that names the knob at fault.
    pub fn from_params(params: &PolicyOptions) -> Result<Self, PolicyError> {
        let weights: Self = read_options("oracle", params)?;
        let all = [("ttft_weight", weights.ttft_weight), ("externality_weight", weights.externality_weight)];
        match all.into_iter().find(|(_, weight)| !(weight.is_finite() && *weight >= 0.0)) {
            Some((knob, weight)) => Err(PolicyError::Options {
                policy: "oracle".to_owned(),
                message: format!("`{knob}` must be 0 or more, not {weight}"),
            }),
            None => Ok(weights),
        }
    }
}

/// A request whose length is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KnownRequest<'a> {
    pub(crate) prompt: u32,
    pub(crate) blocks: &'a [u64],
    pub(crate) output: u32,
}

/// Chooses servers by what is really in them.
#[derive(Debug)]
pub(crate) struct Oracle {
    weights: OracleWeights,
    rng: Rng,
    /// Reused: tokens to generate and tokens held of those in an engine.
    inside: Vec<(f64, f64)>,
}

/// The sums over what is in one engine.
#[derive(Clone, Copy, Debug, Default)]
struct EngineTotals {
    /// Requests that decode, that are in the engine's batch at all, and that wait.
    decoding: f64,
    seated: f64,
    waiting: f64,
    /// Tokens of those that decode.
    resident: f64,
    /// Prompt tokens yet to be computed of those that wait, and of all.
    queued: f64,
    pending: f64,
}

impl Oracle {
    pub(crate) const fn new(weights: OracleWeights, seed: u64) -> Self {
        Self { weights, rng: Rng::seeded(seed), inside: Vec::new() }
    }

    /// The index of the engine on which the request costs least. The engines must have been run up to `now`.
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

    /// What the request costs everybody on this engine, in weighted seconds.
    fn cost(&mut self, now: Time, request: &KnownRequest<'_>, engine: &Engine) -> f64 {
        let timing = engine.current_timing();
        let prompt = u64::from(request.prompt.max(1));
        let uncached = engine.uncached_tokens(request.blocks, prompt) as f64;
        let sums = self.look_inside(engine);
        let step = timing.decode_base
            + timing.decode_per_request * sums.decoding
            + timing.decode_per_token * sums.resident;
        let (queue, stall) = prefill(now, engine, (&timing, &sums, uncached));
        let wait_steps = self.admission(engine, &sums, uncached + f64::from(request.output));
        let ttft = timing.request_overhead + queue + stall + wait_steps * step;

        // Steps that it decodes, and those that each of the others shares with it.
        let steps = f64::from(request.output.saturating_sub(1));
        let held = prompt as f64 + 0.5 * steps;
        let alone = steps * (timing.decode_base + timing.decode_per_request + timing.decode_per_token * held);
        let (mut from_others, mut on_others) = (0.0, 0.0);
        for &(rest, tokens) in &self.inside {
            let shared = (rest - wait_steps).clamp(0.0, steps);
            let grown = 0.5 * shared;
            from_others += shared * (timing.decode_per_request + timing.decode_per_token * (tokens + grown));
            on_others +=
                shared * (timing.decode_per_request + timing.decode_per_token * (prompt as f64 + grown));
        }
        let own = ttft + alone + from_others;
        let externality = (sums.seated + sums.waiting) * stall + on_others;
        own + self.weights.ttft_weight * ttft + self.weights.externality_weight * externality
    }

    fn look_inside(&mut self, engine: &Engine) -> EngineTotals {
        let mut sums = EngineTotals::default();
        self.inside.clear();
        for job in engine.jobs() {
            let tokens = job.tokens as f64;
            self.inside.push((f64::from(job.tokens_to_generate), tokens));
            sums.pending += job.tokens_to_compute as f64;
            match job.stage {
                JobStage::Decode => {
                    sums.decoding += 1.0;
                    sums.seated += 1.0;
                    sums.resident += tokens;
                }
                JobStage::Prefill => sums.seated += 1.0,
                JobStage::Waiting => {
                    sums.waiting += 1.0;
                    sums.queued += job.tokens_to_compute as f64;
                }
            }
        }
        sums
    }

    /// Decode steps that pass before there is a seat and cache room for one that will hold `more` tokens of its own.
    fn admission(&mut self, engine: &Engine, sums: &EngineTotals, more: f64) -> f64 {
        let mut tokens = sums.queued + more - engine.available_tokens() as f64;
        let mut seats = sums.seated + sums.waiting + 1.0 - f64::from(engine.limits().max_running);
        if tokens <= 0.0 && seats <= 0.0 {
            return 0.0;
        }
        let mut ends = self.inside.clone();
        ends.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        for (rest, held) in ends {
            tokens -= held;
            seats -= 1.0;
            if tokens <= 0.0 && seats <= 0.0 {
                return rest;
            }
        }
        f64::from(u16::MAX)
    }
}

/// Seconds before the request's own prompt is computed, and seconds that this takes from everybody.
fn prefill(
    now: Time,
    engine: &Engine,
    (timing, sums, uncached): (&StepTiming, &EngineTotals, f64),
) -> (f64, f64) {
    let residual = engine.remaining_step(now).filter(|(kind, _)| *kind != StepKind::Wait);
    let residual = residual.map_or(0.0, |(_, left)| left.as_secs_f64());
    match engine.limits().batching {
        Batching::PrefillFirst => {
            let shares = sums.waiting > 0.0;
            let batch = if shares { timing.prefill_base } else { 0.0 };
            let own = if shares { 0.0 } else { timing.prefill_base };
            let queue = residual + batch + timing.prefill_per_token * sums.queued;
            (queue, own + timing.prefill_per_token * uncached)
        }
        Batching::Chunked { step_tokens } => {
            let budget = f64::from(step_tokens.max(engine.limits().max_running)) - sums.decoding;
            let steps = ((sums.pending + uncached) / budget.max(1.0)).ceil();
            let fixed = timing.decode_base.max(timing.prefill_base)
                + timing.decode_per_request * sums.decoding
                + timing.decode_per_token * sums.resident;
            let queue = residual + steps * fixed + timing.prefill_per_token * sums.pending;
            (queue, timing.prefill_per_token * uncached)
        }
    }
}
