//! What one more request costs on one worker (docs/policies/marginal_cost.md has the formula and its reasons).

use super::config::MarginalCostConfig;
use super::learner::Speed;
use super::worker::{Sums, WorkerBooks};
use crate::Time;
use crate::fleet::WorkerView;

/// How many times as costly a worker looks that has given too few answers to be trusted with more than its share.
pub(super) const COLD: f64 = 8.0;
/// Requests that every worker may hold before it has answered any.
pub(super) const COLD_SHARE: f64 = 2.0;
/// Who is over a worker's limits delays all who come until the excess has drained. A worker at its limits is busy: it
/// takes so many times as long as the excess alone would.
const DRAIN: f64 = 8.0;
/// From this share of the KV cache in use, as reported, room gets scarce, and by how much the price of it grows.
const FULL: f64 = 0.8;
const FULL_PRICE: f64 = 0.05;
/// Later than so many times as late as usual is no worse: what is lost is lost, and the latency counts anyway.
const LATEST: f64 = 4.0;
/// What missing the SLO costs, in usual latencies.
const MISS: f64 = 1.0;
/// A prediction is right to within this share: so far from the limit it is sure to be met or missed.
const DOUBT: f64 = 0.2;

/// One request, as far as it is the same for all candidates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) now: Time,
    /// Prompt tokens.
    pub(super) prompt: f64,
    /// Tokens per block of its prefix.
    pub(super) block: f64,
    /// Expected length of the answer, in tokens.
    pub(super) output: f64,
    /// Requests that each worker holds on average.
    pub(super) fair: f64,
    /// One over the usual time to the first token of such a prompt.
    pub(super) per_usual_ttft: f64,
    /// Usual latency of an answer, in seconds.
    pub(super) usual_latency: f64,
    /// Whether there is an SLO.
    pub(super) has_slo: bool,
    /// Chance that what is driven out of a cache is asked for again.
    pub(super) reuse: f64,
}

/// The parts of one candidate's cost, in seconds unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
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
    pub(super) health: f64,
}

/// The cost of `asked` on the worker of `view`, which was sent `blocks` blocks of its prefix before.
#[inline]
pub(super) fn price(
    config: &MarginalCostConfig,
    asked: &Asked,
    books: &WorkerBooks,
    (view, blocks): (&WorkerView<'_>, u32),
) -> Parts {
    let (speed, health) = books.speed(asked.now, config.forgive_secs);
    let resident = asked.prompt + 0.5 * asked.output;
    let on = with_others(config, asked, books.sums(), view);
    // A short answer shares no more steps with the others than it has.
    let most = on.requests * asked.output;
    let (all_shared, all_weighted) =
        if on.shared > most { (most, on.weighted * most / on.shared) } else { (on.shared, on.weighted) };

    let known = (f64::from(blocks) * asked.block).min(asked.prompt);
    let uncached = books.uncached(asked.prompt, known);
    let step = on.step(&speed);
    let turn = books.turn(asked.now, (&speed, step));
    let tokens = speed.prefill_token * uncached;
    // Prompts that wait share one batch, and those that wait behind a running one are about to.
    let prefill = if turn.waits { tokens } else { speed.prefill + tokens };
    let over = overflow(view, &on, uncached + 0.5 * asked.output).max(fullness(config, asked.now, view));
    let admission = over * asked.output * step;
    let ttft = turn.before + admission + prefill;
    let per_step = speed.step_request + speed.step_token * resident;
    let own = ttft
        + asked.output * (speed.step + per_step)
        + speed.step_request * all_shared
        + speed.step_token * all_weighted;
    let externality = on.requests * prefill + all_shared * per_step;
    // By Little's law this is how many come here per second.
    let arrivals = on.requests / own;
    let backlog = arrivals * (prefill * (turn.before + 0.5 * prefill) + DRAIN * admission * admission);
    let late = (ttft * asked.per_usual_ttft).min(LATEST);
    let lateness = asked.usual_latency * late * late;
    let copies = asked.reuse * tokens * (on.requests + 1.0);
    let miss = if asked.has_slo {
        // What comes later stretches the decode, too, and being stretched, fewer come per second.
        let stretched = 1.0 + arrivals * prefill;
        let tpot = (own - ttft) / asked.output * stretched;
        let relief = step / (step + per_step);
        misses(config, (ttft, tpot), (on.requests, relief)) * MISS * asked.usual_latency
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
        books.answers() < config.cold_answers && books.sums().requests >= asked.fair.max(COLD_SHARE);
    let total = if is_cold { COLD * total } else { total };
    Parts { total, own, ttft, externality, backlog, lateness, copies, miss, uncached, health }
}

/// What is on the worker, those requests of other routers included that it tells of: they are taken to be like this
/// one and half done.
#[inline]
fn with_others(config: &MarginalCostConfig, asked: &Asked, own: &Sums, view: &WorkerView<'_>) -> Sums {
    let told = if view.load.is_some() {
        view.fresh_requests(asked.now, config.max_report_age_secs).map_or(0.0, f64::from)
    } else {
        0.0
    };
    let others = told - own.requests;
    if others <= 0.0 {
        return *own;
    }
    let resident = asked.prompt + 0.5 * asked.output;
    Sums {
        requests: own.requests + others,
        resident: own.resident + others * resident,
        held: own.held + others * resident,
        shared: own.shared + others * 0.5 * asked.output,
        weighted: own.weighted + others * 0.5 * asked.output * resident,
        awaited: own.awaited,
    }
}

/// By what share the worker would be over its limits with one more request that holds `more` tokens of its own; those
/// who come on top wait until so large a share has ended. 0 where there is room, or no limit is known.
#[inline]
fn overflow(view: &WorkerView<'_>, on: &Sums, more: f64) -> f64 {
    let over = |load: f64, limit: f64| if limit > 0.0 && load > limit { load / limit - 1.0 } else { 0.0 };
    let requests =
        view.info.max_running_requests.map_or(0.0, |most| over(on.requests + 1.0, f64::from(most)));
    let tokens = view.info.max_total_tokens.map_or(0.0, |most| over(on.held + more, most as f64));
    requests.max(tokens)
}

/// The same by the use of the KV cache that the worker reports; it sees other routers' requests, too.
#[inline]
fn fullness(config: &MarginalCostConfig, now: Time, view: &WorkerView<'_>) -> f64 {
    let Some(load) = view.load else { return 0.0 };
    match load.kv_usage.filter(|used| *used > FULL) {
        Some(used) if now.secs_since(load.at) <= config.max_report_age_secs => {
            let barrier = |k: f64| k / (1.0 - k);
            FULL_PRICE * (barrier(used.min(0.99)) - barrier(FULL))
        }
        _ => 0.0,
    }
}

/// How many requests are expected to miss the SLO because of this one, itself included; 0 without an SLO. Before it
/// came each of the `requests` took `relief` times as long per token.
fn misses(config: &MarginalCostConfig, (ttft, tpot): (f64, f64), (requests, relief): (f64, f64)) -> f64 {
    let chance = |value: f64, limit: Option<f64>| {
        limit.map_or(0.0, |limit| ((value / limit - 1.0 + DOUBT) / (2.0 * DOUBT)).clamp(0.0, 1.0))
    };
    let slow = chance(tpot, config.slo_tpot_secs);
    let own = chance(ttft, config.slo_ttft_secs).max(slow);
    own + requests * (slow - chance(tpot * relief, config.slo_tpot_secs))
}

/// Seconds that a step of all these takes.
impl Sums {
    #[inline]
    pub(super) fn step(&self, speed: &Speed) -> f64 {
        speed.step + speed.step_request * self.requests + speed.step_token * self.resident
    }
}
