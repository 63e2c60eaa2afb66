//! What the load endpoints of the engines say, in one shape.
//!
//! A body that says nothing about load is an error, never zeros: an endpoint that changed its shape must not make its
//! worker look idle.

mod metrics_text;
mod orca;
mod v1_loads;

pub use orca::parse_orca;

use router_core::{LoadReport, LoadSource, Time, Work};

use crate::json::{Parse, Reader};

/// Where load is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoadEndpoint {
    /// `/get_load` of SGLang, gone in 0.5.23: one number of tokens, or a list with an entry per data-parallel rank.
    GetLoad,
    /// `/v1/loads` of SGLang from 0.5.8 on. The only one with everything.
    V1Loads,
    /// `/metrics` of SGLang (with `--enable-metrics`, lagging) and vLLM (prompt).
    Metrics,
    /// `/load` of vLLM: requests in flight, waiting or running, zero unless `--enable-server-load-tracking`.
    VllmLoad,
}

impl LoadEndpoint {
    /// Every endpoint, the most telling first.
    pub const ALL: [Self; 4] = [Self::V1Loads, Self::Metrics, Self::GetLoad, Self::VllmLoad];

    /// The path to ask, with the query that keeps the answer small.
    pub const fn path(self) -> &'static str {
        match self {
            Self::GetLoad => "/get_load",
            Self::V1Loads => "/v1/loads?include=core",
            Self::Metrics => "/metrics",
            Self::VllmLoad => "/load",
        }
    }
}

/// Load as one worker states it, all its data-parallel ranks together. Absent means that it does not say.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LoadFigures {
    /// Requests waiting to be scheduled.
    pub waiting: Option<u32>,
    /// Requests being worked on.
    pub running: Option<u32>,
    /// Requests waiting or running, where the worker does not tell them apart.
    pub in_flight: Option<u32>,
    /// Tokens held or waiting: resident KV plus the prompts in the queue.
    pub tokens: Option<u64>,
    /// Share of the KV cache in use, 0 to 1; the mean over ranks.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second, achieved.
    pub gen_throughput: Option<f64>,
    /// Share of prompt tokens found in the prefix cache, 0 to 1; the mean over ranks.
    pub cache_hit_rate: Option<f64>,
    /// Uncached prompt tokens waiting in the queue.
    pub waiting_uncached_tokens: Option<u64>,
    /// How many requests the worker runs at once.
    pub max_running_requests: Option<u32>,
    /// How many tokens fit into its KV cache.
    pub max_total_tokens: Option<u64>,
    /// Uncached prompt tokens prefilled since the start; with [`prefill_busy_us`](Self::prefill_busy_us), the cost of
    /// one.
    pub prefill_uncached_tokens: Option<u64>,
    /// Microseconds spent in prefill since the start.
    pub prefill_busy_us: Option<u64>,
    /// Running sums over decode steps, as the engine orders them; from two of them the step time follows.
    pub decode_moments: Option<[f64; 6]>,
    /// The ranks one by one, when there are several.
    pub ranks: Vec<RankLoad>,
}

/// Load of one data-parallel rank.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RankLoad {
    /// Which rank.
    pub rank: u32,
    /// Requests waiting to be scheduled.
    pub waiting: Option<u32>,
    /// Requests being worked on.
    pub running: Option<u32>,
    /// Tokens held or waiting.
    pub tokens: Option<u64>,
    /// Uncached prompt tokens waiting in the queue.
    pub waiting_uncached_tokens: Option<u64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second, achieved.
    pub gen_throughput: Option<f64>,
    /// Uncached prompt tokens prefilled since the start.
    pub prefill_uncached_tokens: Option<u64>,
    /// Microseconds spent in prefill since the start.
    pub prefill_busy_us: Option<u64>,
    /// Running sums over decode steps, as the engine orders them.
    pub decode_moments: Option<[f64; 6]>,
}

impl LoadFigures {
    /// The report the balancer takes. Where a worker only says how many requests it has, waiting or running, they
    /// are reported as running: the sum is right, and nothing is claimed about the queue.
    pub fn report(&self, at: Time, source: LoadSource) -> LoadReport {
        let undivided = if self.waiting.is_none() { self.in_flight } else { None };
        LoadReport {
            at,
            source,
            waiting: self.waiting,
            running: self.running.or(undivided),
            tokens: self.tokens,
            waiting_tokens: self.waiting_uncached_tokens,
            kv_usage: self.kv_usage,
            gen_throughput: self.gen_throughput,
            work: Work {
                prefill_tokens: self.prefill_uncached_tokens,
                prefill_busy_us: self.prefill_busy_us,
                decode: self.decode_moments,
            },
        }
    }

    /// What it says of one data-parallel rank; `None` where it has one number for all of them.
    pub fn rank(&self, rank: u32) -> Option<Self> {
        let load = self.ranks.iter().find(|load| load.rank == rank)?;
        Some(Self {
            waiting: load.waiting,
            running: load.running,
            tokens: load.tokens,
            waiting_uncached_tokens: load.waiting_uncached_tokens,
            kv_usage: load.kv_usage,
            gen_throughput: load.gen_throughput,
            prefill_uncached_tokens: load.prefill_uncached_tokens,
            prefill_busy_us: load.prefill_busy_us,
            decode_moments: load.decode_moments,
            ..Self::default()
        })
    }

    /// Whether it says anything about load right now; limits and running sums alone do not.
    pub fn says_something(&self) -> bool {
        self.waiting.is_some()
            || self.running.is_some()
            || self.in_flight.is_some()
            || self.tokens.is_some()
            || self.kv_usage.is_some()
    }
}

/// Why a body is no load report.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadParseError {
    /// It is not JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// It is not text.
    #[error("the body is not UTF-8 text")]
    NotText,
    /// It is JSON, but nothing in it is a load figure we know.
    #[error("the body of {0} states no load")]
    NoLoad(&'static str),
}

/// Reads the body of a load endpoint (status 200).
///
/// # Errors
/// When the body is malformed or says nothing about load.
pub fn parse_load(endpoint: LoadEndpoint, body: &[u8]) -> Result<LoadFigures, LoadParseError> {
    let facts = match endpoint {
        LoadEndpoint::Metrics => crate::load::metrics_text::read_metrics(body)?,
        LoadEndpoint::V1Loads => json(body, crate::load::v1_loads::read_v1_loads)?,
        LoadEndpoint::GetLoad => json(body, read_get_load)?,
        LoadEndpoint::VllmLoad => json(body, read_vllm_load)?,
    };
    if facts.says_something() { Ok(facts) } else { Err(LoadParseError::NoLoad(endpoint.path())) }
}

fn json(body: &[u8], read: fn(&mut Reader<'_>) -> Parse<LoadFigures>) -> Result<LoadFigures, LoadParseError> {
    let mut r = Reader::new(body);
    let facts = read(&mut r).map_err(|_| LoadParseError::NotJson)?;
    if r.at_end() { Ok(facts) } else { Err(LoadParseError::NotJson) }
}

/// `{"load":N}` counts tokens, not requests; later builds send a list, one entry per rank.
fn read_get_load(r: &mut Reader<'_>) -> Parse<LoadFigures> {
    let mut facts = LoadFigures::default();
    if r.peek()? == b'[' {
        let mut ranks = Vec::new();
        r.elements(|r| {
            ranks.push(get_load_rank(r)?);
            Ok(())
        })?;
        sum_ranks(&mut facts, ranks);
        return Ok(facts);
    }
    r.fields(|key, r| {
        if key == b"load" {
            facts.tokens = r.whole_number()?;
            return Ok(());
        }
        r.skip()
    })?;
    Ok(facts)
}

fn get_load_rank(r: &mut Reader<'_>) -> Parse<RankLoad> {
    let mut rank = RankLoad::default();
    let mut all = None;
    r.fields(|key, r| {
        match key {
            b"dp_rank" => rank.rank = r.count()?.unwrap_or(0),
            b"num_reqs" => all = r.count()?,
            b"num_waiting_reqs" => rank.waiting = r.count()?,
            b"num_tokens" => rank.tokens = r.whole_number()?,
            _ => r.skip()?,
        }
        Ok(())
    })?;
    // `num_reqs` includes the waiting ones.
    rank.running = all.zip(rank.waiting).and_then(|(all, waiting)| all.checked_sub(waiting));
    Ok(rank)
}

/// Totals over ranks. A figure some rank leaves out counts as zero there if another rank states it, because engines
/// leave out what has its default value; a figure no rank states is unknown.
pub(crate) fn sum_ranks(facts: &mut LoadFigures, ranks: Vec<RankLoad>) {
    let total = |of: fn(&RankLoad) -> Option<u64>| ranks.iter().filter_map(of).reduce(u64::saturating_add);
    let requests = |n: Option<u64>| n.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    facts.waiting = requests(total(|r| r.waiting.map(u64::from)));
    facts.running = requests(total(|r| r.running.map(u64::from)));
    facts.tokens = total(|r| r.tokens);
    if ranks.len() > 1 {
        facts.ranks = ranks;
    }
}

fn read_vllm_load(r: &mut Reader<'_>) -> Parse<LoadFigures> {
    let mut facts = LoadFigures::default();
    r.fields(|key, r| {
        if key == b"server_load" {
            facts.in_flight = r.count()?;
            return Ok(());
        }
        r.skip()
    })?;
    Ok(facts)
}
