//! What one more request costs on one worker (docs/policies/marginal_cost.md has the formula and its reasons).

use super::config::MarginalCostConfig;
use super::in_flight::LoadSums;
use super::worker::WorkerModel;
use crate::Time;
use crate::worker_view::WorkerView;

/// Factor on the cost of a worker that has completed too few responses and already holds its share of the requests, and of one
/// that responds without an output.
pub(super) const COLD_FACTOR: f64 = 8.0;
/// Requests that every worker may hold before its first response.
pub(super) const COLD_REQUESTS: f64 = 2.0;
/// Requests over a worker's limits delay all later ones until the excess has drained. A worker at its limits is busy:
/// draining takes this many times as long as the excess alone would.
const DRAIN_FACTOR: f64 = 8.0;
/// KV cache usage, as reported, from which space counts as scarce, and how fast its price grows from there.
const KV_FULL_SHARE: f64 = 0.8;
const KV_FULL_WEIGHT: f64 = 0.05;
/// Lateness, in usual times to the first token, is capped here; the latency counts beyond that in any case.
const MAX_LATENESS: f64 = 4.0;
/// What it costs more than a miss that one misses the SLO by its length: where none can keep it, sooner is still better.
const HOPELESS_WEIGHT: f64 = 0.25;
/// What missing the SLO costs, in usual latencies.
const SLO_MISS_LATENCIES: f64 = 1.0;
/// Assumed relative error of a prediction: beyond it the SLO counts as surely met or surely missed.
const PREDICTION_ERROR: f64 = 0.2;

/// One request, as far as it is the same for all candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct CostInputs {
    pub(super) now: Time,
    /// Prompt tokens.
    pub(super) prompt: f64,
    /// Tokens per block of its prefix.
    pub(super) block: f64,
    /// Expected length of the output, in tokens.
    pub(super) output: f64,
    /// Expected length of any output, in tokens.
    pub(super) usual_output: f64,
    /// Requests that each worker holds on average.
    pub(super) fair: f64,
    /// One over the usual time to the first token of such a prompt.
    pub(super) per_usual_ttft: f64,
    /// Baseline latency of a response, in seconds.
    pub(super) usual_latency: f64,
    /// Factor on the predicted time to the first token with which nearly all keep the SLO.
    pub(super) slo_margin: f64,
    /// Whether there is an SLO.
    pub(super) has_slo: bool,
    /// Probability that blocks evicted from a cache are needed again.
    pub(super) reuse: f64,
    /// Sum over the workers of the share of their responses that had no output, and their number.
    pub(super) empty_shares: (f64, f64),
}

impl CostInputs {
    /// Mean share of responses without an output on the workers beside one that has the share `own`.
    fn empty_share_of_others(&self, own: f64) -> f64 {
        let (sum, workers) = self.empty_shares;
        (sum - own) / (workers - 1.0).max(1.0)
    }

    /// Prompt tokens that a worker was sent before, if it was sent this many blocks.
    #[inline]
    pub(super) fn known(&self, blocks: u32) -> f64 {
        (f64::from(blocks) * self.block).min(self.prompt)
    }

    /// Prompt tokens that such a worker is predicted to have in its cache.
    pub(super) fn cached(&self, model: &WorkerModel, blocks: u32) -> f64 {
        self.prompt - model.uncached(self.prompt, self.known(blocks))
    }
}

/// The parts of one candidate's cost, in seconds unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CostBreakdown {
    pub(super) total: f64,
    pub(super) own: f64,
    pub(super) ttft: f64,
    pub(super) externality: f64,
    pub(super) backlog: f64,
    pub(super) lateness: f64,
    pub(super) copies: f64,
    pub(super) miss: f64,
    /// Tokens.
    pub(super) uncached: f64,
    /// A factor.
    pub(super) slowdown: f64,
}

/// The cost of a request with these `inputs` on the worker of `view`, which was sent `blocks` blocks of its prefix before. Without
/// a view, what the worker reports and its limits do not count.
#[inline]
pub(super) fn cost_of(
    config: &MarginalCostConfig,
    inputs: &CostInputs,
    model: &WorkerModel,
    view: Option<&WorkerView<'_>>,
    blocks: u32,
) -> CostBreakdown {
    let (speed, slowdown) = model.speed(inputs.now, config.forgive_secs);
    let resident = inputs.prompt + 0.5 * inputs.output;
    let on = view.map_or(*model.sums(), |view| with_others(config, inputs, model.sums(), view));
    // A short output shares at most as many steps with the others as it has.
    let most = on.requests * inputs.output;
    let (all_shared, all_weighted) =
        if on.shared > most { (most, on.weighted * most / on.shared) } else { (on.shared, on.weighted) };

    let uncached = model.uncached(inputs.prompt, inputs.known(blocks));
    let step = on.step(&speed);
    let prefill_slot = model.prefill_slot(inputs.now, &speed, step);
    let tokens = speed.prefill_token * uncached;
    // Waiting prompts share one batch; those behind a running batch will share the next one.
    let prefill = if prefill_slot.is_queued { tokens } else { speed.prefill + tokens };
    let over = view.map_or(0.0, |view| {
        overflow(view, &on, uncached + 0.5 * inputs.output).max(fullness(config, inputs.now, view))
    });
    let admission = over * inputs.usual_output * step;
    let ttft = prefill_slot.wait_secs + admission + prefill;
    let per_step = speed.step_request + speed.step_token * resident;
    let own = ttft
        + inputs.output * (speed.step + per_step)
        + speed.step_request * all_shared
        + speed.step_token * all_weighted;
    let externality = on.requests * prefill + all_shared * per_step;
    // Arrivals per second on this worker, by Little's law.
    let arrivals = on.requests / own;
    let backlog = arrivals
        * (prefill * (prefill_slot.wait_secs + 0.5 * prefill) + DRAIN_FACTOR * admission * admission);
    let late = (ttft * inputs.per_usual_ttft).min(MAX_LATENESS);
    let lateness = inputs.usual_latency * late * late;
    let copies = inputs.reuse * tokens * (on.requests + 1.0);
    let miss = if inputs.has_slo {
        // Later prompts also stretch the decode, and the longer it is, the fewer of them come per second.
        let stretched = 1.0 + arrivals * prefill;
        let tpot = (own - ttft) / inputs.output * stretched;
        let relief = step / (step + per_step);
        misses(config, ttft * inputs.slo_margin, tpot, on.requests, relief)
            * SLO_MISS_LATENCIES
            * inputs.usual_latency
    } else {
        0.0
    };
    let total = own
        + config.externality_weight * externality
        + config.backlog_weight * backlog
        + config.ttft_weight * lateness
        + config.copy_weight * copies
        + miss;
    let is_cold =
        model.responses() < config.cold_answers && model.sums().requests >= inputs.fair.max(COLD_REQUESTS);
    let is_suspect =
        model.is_suspect(inputs.now, config.forgive_secs, |own| inputs.empty_share_of_others(own));
    let total = if is_cold || is_suspect { COLD_FACTOR * total } else { total };
    CostBreakdown { total, own, ttft, externality, backlog, lateness, copies, miss, uncached, slowdown }
}

/// The load of the worker, including the requests of other routers that it reports: those are assumed to be like
/// this one and half done.
#[inline]
fn with_others(
    config: &MarginalCostConfig,
    inputs: &CostInputs,
    own: &LoadSums,
    view: &WorkerView<'_>,
) -> LoadSums {
    let reported = if view.load.is_some() {
        view.fresh_requests(inputs.now, config.max_report_age_secs).map_or(0.0, f64::from)
    } else {
        0.0
    };
    let others = reported - own.requests;
    if others <= 0.0 {
        return *own;
    }
    let resident = inputs.prompt + 0.5 * inputs.output;
    LoadSums {
        requests: own.requests + others,
        resident: own.resident + others * resident,
        held: own.held + others * resident,
        shared: own.shared + others * 0.5 * inputs.output,
        weighted: own.weighted + others * 0.5 * inputs.output * resident,
        awaited: own.awaited,
    }
}

/// Share by which the worker would exceed its limits with one more request that holds `more` tokens of its own; later
/// requests wait until that share has ended. 0 where there is room, or no limit is known.
#[inline]
fn overflow(view: &WorkerView<'_>, on: &LoadSums, more: f64) -> f64 {
    let over = |load: f64, limit: f64| if limit > 0.0 && load > limit { load / limit - 1.0 } else { 0.0 };
    let requests =
        view.info.max_running_requests.map_or(0.0, |most| over(on.requests + 1.0, f64::from(most)));
    let tokens = view.info.max_total_tokens.map_or(0.0, |most| over(on.held + more, most as f64));
    requests.max(tokens)
}

/// Excess by the KV cache usage that the worker reports, which includes the requests of other routers.
#[inline]
fn fullness(config: &MarginalCostConfig, now: Time, view: &WorkerView<'_>) -> f64 {
    let Some(load) = view.load else { return 0.0 };
    match load.kv_usage.filter(|used| *used > KV_FULL_SHARE) {
        Some(used) if now.secs_since(load.at) <= config.max_report_age_secs => {
            let barrier = |k: f64| k / (1.0 - k);
            KV_FULL_WEIGHT * (barrier(used.min(0.99)) - barrier(KV_FULL_SHARE))
        }
        _ => 0.0,
    }
}

/// How many requests are expected to miss the SLO because of this one, itself included; 0 without an SLO. Before it
/// arrived each of the `requests` took `relief` times as long per token.
fn misses(config: &MarginalCostConfig, ttft: f64, tpot: f64, requests: f64, relief: f64) -> f64 {
    let chance = |value: f64, limit: Option<f64>| {
        limit.map_or(0.0, |limit| {
            let ratio = value / limit;
            let chance = ((ratio - 1.0 + PREDICTION_ERROR) / (2.0 * PREDICTION_ERROR)).clamp(0.0, 1.0);
            chance + HOPELESS_WEIGHT * (ratio - 1.0 - PREDICTION_ERROR).clamp(0.0, MAX_LATENESS)
        })
    };
    let slow = chance(tpot, config.slo_tpot_secs);
    let own = chance(ttft, config.slo_ttft_secs).max(slow);
    own + requests * (slow - chance(tpot * relief, config.slo_tpot_secs))
}
