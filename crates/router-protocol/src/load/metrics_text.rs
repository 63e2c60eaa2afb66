//! The load gauges in a Prometheus page of SGLang or vLLM.
//!
//! SGLang writes `sglang:name`; pages that went through an aggregator, and `/v1/loads?format=prometheus`, say
//! `sglang_name`. One engine may state a gauge several times: once per data-parallel rank (labels `dp_rank`, vLLM:
//! `engine`), which add up, and once per tensor or pipeline rank of the same one, which repeat each other.

use crate::load::{LoadFigures, LoadParseError, RankLoad, sum_ranks};

/// The gauges the router uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gauge {
    Waiting,
    Running,
    Tokens,
    KvUsage,
    Throughput,
    CacheHitRate,
}

/// The gauges of one data-parallel rank.
#[derive(Clone, Copy, Default)]
struct Rank {
    rank: u32,
    waiting: Option<f64>,
    running: Option<f64>,
    tokens: Option<f64>,
    kv_usage: Option<f64>,
    throughput: Option<f64>,
    cache_hit_rate: Option<f64>,
}

/// More ranks than any engine has; the lines of others are ignored, so a hostile page costs no memory.
const MAX_RANKS: usize = 1024;

pub(crate) fn read_metrics(body: &[u8]) -> Result<LoadFigures, LoadParseError> {
    let page = std::str::from_utf8(body).map_err(|_| LoadParseError::NotText)?;
    let mut ranks: Vec<Rank> = Vec::new();
    for line in page.lines() {
        let Some((gauge, labels, value)) = sample(line) else { continue };
        let number = rank_of(labels);
        let at = ranks.iter().position(|r| r.rank == number).unwrap_or(ranks.len());
        if at == ranks.len() {
            if ranks.len() == MAX_RANKS {
                continue;
            }
            ranks.push(Rank { rank: number, ..Rank::default() });
        }
        let slot = ranks[at].slot(gauge);
        *slot = Some(slot.map_or(value, |old| old.max(value)));
    }
    Ok(facts(&ranks))
}

fn facts(ranks: &[Rank]) -> LoadFigures {
    let mean = |of: fn(&Rank) -> Option<f64>| {
        let (sum, n) = ranks.iter().filter_map(of).fold((0.0, 0u32), |(sum, n), v| (sum + v, n + 1));
        (n > 0).then(|| sum / f64::from(n))
    };
    let mut facts = LoadFigures {
        kv_usage: mean(|r| r.kv_usage),
        gen_throughput: ranks.iter().filter_map(|r| r.throughput).reduce(|a, b| a + b),
        cache_hit_rate: mean(|r| r.cache_hit_rate),
        ..LoadFigures::default()
    };
    // The casts saturate and the values are finite and not negative.
    let parts = ranks.iter().map(|r| RankLoad {
        rank: r.rank,
        waiting: r.waiting.map(|v| v as u32),
        running: r.running.map(|v| v as u32),
        tokens: r.tokens.map(|v| v as u64),
        kv_usage: r.kv_usage,
        gen_throughput: r.throughput,
        ..RankLoad::default()
    });
    sum_ranks(&mut facts, parts.collect());
    facts
}

impl Rank {
    fn slot(&mut self, gauge: Gauge) -> &mut Option<f64> {
        match gauge {
            Gauge::Waiting => &mut self.waiting,
            Gauge::Running => &mut self.running,
            Gauge::Tokens => &mut self.tokens,
            Gauge::KvUsage => &mut self.kv_usage,
            Gauge::Throughput => &mut self.throughput,
            Gauge::CacheHitRate => &mut self.cache_hit_rate,
        }
    }
}

/// `name{labels} value [time]`, if it is one of ours with a usable value.
fn sample(line: &str) -> Option<(Gauge, &str, f64)> {
    let end = line.find(['{', ' '])?;
    let gauge = gauge_of(&line[..end])?;
    let (labels, value) = match line[end..].strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", &line[end..]),
    };
    let value: f64 = value.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some((gauge, labels, value))
}

fn gauge_of(name: &str) -> Option<Gauge> {
    if let Some(name) = name.strip_prefix("vllm").and_then(|n| n.strip_prefix([':', '_'])) {
        return Some(match name {
            "num_requests_waiting" => Gauge::Waiting,
            "num_requests_running" => Gauge::Running,
            "kv_cache_usage_perc" | "gpu_cache_usage_perc" => Gauge::KvUsage,
            _ => return None,
        });
    }
    let name = name.strip_prefix("sglang").and_then(|n| n.strip_prefix([':', '_']))?;
    Some(match name {
        "num_queue_reqs" | "num_waiting_reqs" => Gauge::Waiting,
        "num_running_reqs" => Gauge::Running,
        "num_total_tokens" | "num_used_tokens" => Gauge::Tokens,
        "token_usage" => Gauge::KvUsage,
        "gen_throughput" => Gauge::Throughput,
        "cache_hit_rate" => Gauge::CacheHitRate,
        _ => return None,
    })
}

/// The data-parallel rank in the labels; zero where there is none.
fn rank_of(labels: &str) -> u32 {
    let number = |name: &str| {
        let rest = labels.split(',').find_map(|pair| pair.trim().strip_prefix(name))?;
        rest.strip_prefix("=\"")?.split('"').next()?.parse().ok()
    };
    number("dp_rank").or_else(|| number("engine")).unwrap_or(0)
}
