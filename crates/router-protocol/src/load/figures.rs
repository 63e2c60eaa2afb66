//! The load figures that all readers fill, of one data-parallel rank or of a whole worker.

use router_core::{LoadReport, LoadSource, Time, WorkTotals};

/// Load at one moment. Absent means that the engine does not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LoadFigures {
    /// Requests waiting to be scheduled.
    pub waiting: Option<u32>,
    /// Requests being worked on.
    pub running: Option<u32>,
    /// Requests waiting or running, from engines that only count both together.
    pub in_flight: Option<u32>,
    /// Tokens held or waiting: resident KV plus the prompts in the queue.
    pub tokens: Option<u64>,
    /// Uncached prompt tokens waiting in the queue.
    pub waiting_uncached_tokens: Option<u64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second, achieved.
    pub gen_throughput: Option<f64>,
    /// Uncached prompt tokens prefilled since the start. Divided into [`prefill_busy_us`](Self::prefill_busy_us), the
    /// cost of one token.
    pub prefill_uncached_tokens: Option<u64>,
    /// Microseconds spent in prefill since the start.
    pub prefill_busy_us: Option<u64>,
    /// Running sums over decode steps, in the order of the engine; the step time follows from two of them.
    pub decode_moments: Option<[f64; 6]>,
}

impl LoadFigures {
    /// The report that the balancer takes. Where an engine counts waiting and running requests together only, they are
    /// reported as running: the sum is right, and nothing is claimed about the queue.
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
            work: WorkTotals {
                prefill_tokens: self.prefill_uncached_tokens,
                prefill_busy_us: self.prefill_busy_us,
                decode: self.decode_moments,
            },
        }
    }

    /// Whether it says anything about the load right now; throughput and running sums alone do not.
    pub(super) fn states_load(&self) -> bool {
        self.waiting.is_some()
            || self.running.is_some()
            || self.in_flight.is_some()
            || self.tokens.is_some()
            || self.kv_usage.is_some()
    }
}

/// Load of one data-parallel rank.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RankLoad {
    /// Which rank.
    pub rank: u32,
    /// Its load.
    pub figures: LoadFigures,
}

/// Load of one worker.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WorkerLoad {
    /// All ranks together.
    pub total: LoadFigures,
    /// The ranks one by one; empty unless there are several.
    pub ranks: Vec<RankLoad>,
}

impl WorkerLoad {
    /// The load of one data-parallel rank; `None` where the worker states one number for all of them.
    pub fn rank(&self, rank: u32) -> Option<&LoadFigures> {
        self.ranks.iter().find(|load| load.rank == rank).map(|load| &load.figures)
    }

    /// Adds the ranks up; `kv_usage` is their mean. A figure that one rank leaves out counts as zero there if another
    /// rank states it, because engines leave out what has its default value. A figure that no rank states is unknown.
    pub(super) fn of_ranks(ranks: Vec<RankLoad>) -> Self {
        let total = LoadFigures {
            waiting: total_requests(&ranks, |f| f.waiting),
            running: total_requests(&ranks, |f| f.running),
            in_flight: None,
            tokens: total(&ranks, |f| f.tokens, u64::saturating_add),
            waiting_uncached_tokens: total(&ranks, |f| f.waiting_uncached_tokens, u64::saturating_add),
            kv_usage: total(&ranks, |f| f.kv_usage, |a, b| a + b).map(|sum| sum / ranks.len() as f64),
            gen_throughput: total(&ranks, |f| f.gen_throughput, |a, b| a + b),
            prefill_uncached_tokens: total(&ranks, |f| f.prefill_uncached_tokens, u64::saturating_add),
            prefill_busy_us: total(&ranks, |f| f.prefill_busy_us, u64::saturating_add),
            decode_moments: total(&ranks, |f| f.decode_moments, add_moments),
        };
        Self { total, ranks: if ranks.len() > 1 { ranks } else { Vec::new() } }
    }
}

fn total<T>(ranks: &[RankLoad], of: fn(&LoadFigures) -> Option<T>, add: fn(T, T) -> T) -> Option<T> {
    ranks.iter().filter_map(|load| of(&load.figures)).reduce(add)
}

fn total_requests(ranks: &[RankLoad], of: fn(&LoadFigures) -> Option<u32>) -> Option<u32> {
    total(ranks, of, u32::saturating_add)
}

fn add_moments(mut a: [f64; 6], b: [f64; 6]) -> [f64; 6] {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
    a
}
