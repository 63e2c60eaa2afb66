//! Reads the load gauges of a Prometheus page of SGLang or vLLM.
//!
//! SGLang writes `sglang:name`; pages that went through an aggregator, and `/v1/loads?format=prometheus`, have
//! `sglang_name`. One engine may state a gauge several times: once per data-parallel rank (label `dp_rank`, in vLLM
//! `engine`), which add up, and once per tensor or pipeline rank of the same one, which are copies.

use super::figures::{LoadFigures, RankLoad, WorkerLoad};
use crate::prometheus_text::{Sample, metric_name};

/// The gauges the router uses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LoadGauge {
    Waiting,
    Running,
    Tokens,
    KvUsage,
    Throughput,
}

/// More ranks than any engine has; the lines of others are ignored, so a hostile page costs no memory.
const MAX_RANKS: usize = 1024;

pub(super) fn read_metrics(page: &str) -> WorkerLoad {
    let mut ranks: Vec<RankLoad> = Vec::new();
    for line in page.lines() {
        // Most lines are of other metrics: their numbers need not be read.
        let Some(gauge) = gauge_of(metric_name(line)) else { continue };
        let Some(sample) = Sample::read(line) else { continue };
        let rank = rank_of(&sample);
        let at = ranks.iter().position(|r| r.rank == rank).unwrap_or(ranks.len());
        if at == ranks.len() {
            if ranks.len() == MAX_RANKS {
                continue;
            }
            ranks.push(RankLoad { rank, ..RankLoad::default() });
        }
        gauge.raise(&mut ranks[at].figures, sample.value);
    }
    // A gauge that a rank does not export is unknown, not zero, so it does not lower the mean.
    let stated: Vec<f64> = ranks.iter().filter_map(|load| load.figures.kv_usage).collect();
    let mut load = WorkerLoad::of_ranks(ranks);
    load.total.kv_usage = (!stated.is_empty()).then(|| stated.iter().sum::<f64>() / stated.len() as f64);
    load
}

impl LoadGauge {
    /// Sets the gauge's figure, or raises it: copies of one rank's gauge differ when one of them is late.
    fn raise(self, figures: &mut LoadFigures, value: f64) {
        // The casts saturate, and the value is finite and not negative.
        match self {
            Self::Waiting => figures.waiting = figures.waiting.max(Some(value as u32)),
            Self::Running => figures.running = figures.running.max(Some(value as u32)),
            Self::Tokens => figures.tokens = figures.tokens.max(Some(value as u64)),
            Self::KvUsage => figures.kv_usage = Some(figures.kv_usage.map_or(value, |old| old.max(value))),
            Self::Throughput => {
                figures.gen_throughput = Some(figures.gen_throughput.map_or(value, |old| old.max(value)));
            }
        }
    }
}

fn gauge_of(name: &str) -> Option<LoadGauge> {
    if let Some(name) = name.strip_prefix("vllm").and_then(|n| n.strip_prefix([':', '_'])) {
        return Some(match name {
            "num_requests_waiting" => LoadGauge::Waiting,
            "num_requests_running" => LoadGauge::Running,
            "kv_cache_usage_perc" | "gpu_cache_usage_perc" => LoadGauge::KvUsage,
            _ => return None,
        });
    }
    let name = name.strip_prefix("sglang").and_then(|n| n.strip_prefix([':', '_']))?;
    Some(match name {
        "num_queue_reqs" | "num_waiting_reqs" => LoadGauge::Waiting,
        "num_running_reqs" => LoadGauge::Running,
        "num_total_tokens" | "num_used_tokens" => LoadGauge::Tokens,
        "token_usage" => LoadGauge::KvUsage,
        "gen_throughput" => LoadGauge::Throughput,
        _ => return None,
    })
}

/// The data-parallel rank in the labels; zero where there is none.
fn rank_of(sample: &Sample<'_>) -> u32 {
    let number = |name| sample.label(name)?.parse().ok();
    number("dp_rank").or_else(|| number("engine")).unwrap_or(0)
}
