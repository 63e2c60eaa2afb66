//! `/metrics` in Prometheus text form, under SGLang's own names.

use std::fmt::Write as _;

use http::StatusCode;
use router_engine::EngineLoad;

use crate::api::body::HttpResponse;
use crate::api::errors::{self, with_type};
use crate::config::SglangVersion;
use crate::engine_task::driver::{EngineDriver, EngineStats};
use crate::state::ServerState;

/// The whole page.
pub(crate) fn page(server: &ServerState) -> HttpResponse {
    let stats: Vec<_> = server.ranks().iter().map(EngineDriver::stats).collect();
    let model = &server.config().model_name;
    let short = format!("model_name=\"{model}\"");
    let mut out = String::with_capacity(4096);
    for (name, help, value) in GAUGES {
        let _ = writeln!(out, "# HELP sglang:{name} {help}\n# TYPE sglang:{name} gauge");
        for (rank, stats) in stats.iter().enumerate() {
            let _ = writeln!(out, "sglang:{name}{{{}}} {:?}", labels(server, rank), value(&stats.load));
        }
    }
    let prompt_tokens: u64 = server.ranks().iter().map(EngineDriver::prompt_tokens_total).sum();
    let cached: u64 = stats.iter().map(|s| s.load.prefill_cached_tokens).sum();
    let Some(stats) = stats.into_iter().reduce(EngineStats::and) else {
        return errors::empty(StatusCode::OK);
    };
    let counters = [
        ("prompt_tokens_total", "Number of prefill tokens processed.", prompt_tokens as f64),
        ("generation_tokens_total", "Number of generation tokens processed.", stats.output_tokens as f64),
        ("cached_tokens_total", "Number of cached prompt tokens.", cached as f64),
        ("num_requests_total", "Number of requests processed.", stats.completed as f64),
        ("num_aborted_requests_total", "Number of requests aborted.", stats.aborted as f64),
    ];
    for (name, help, value) in counters {
        family(&mut out, [name, help, "counter", &short], value);
    }
    // Not of SGLang: they show whether this machine keeps the emulated time.
    for (name, help, kind, value) in [
        ("wakeups_total", "Steps whose end was waited for.", "counter", stats.wakeups as f64),
        ("late_wakeups_total", "Those seen more than 5 ms late.", "counter", stats.late_wakeups as f64),
        ("worst_wakeup_seconds", "The latest of them.", "gauge", stats.worst_wakeup.as_secs_f64()),
    ] {
        let _ = writeln!(
            out,
            "# HELP emulator:{name} {help}\n# TYPE emulator:{name} {kind}\nemulator:{name} {value:?}"
        );
    }
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out.into())
}

/// Name, help and value of what is stated for each rank.
type RankGauge = (&'static str, &'static str, fn(&EngineLoad) -> f64);

const GAUGES: [RankGauge; 11] = [
    ("num_running_reqs", "The number of running requests.", |l| f64::from(l.running)),
    ("num_used_tokens", "The number of used tokens.", |l| l.used_tokens as f64),
    ("token_usage", "The token usage.", |l| l.kv_usage),
    ("gen_throughput", "The generation throughput (token/s).", |l| l.gen_throughput),
    ("num_queue_reqs", "The number of requests in the waiting queue.", |l| f64::from(l.waiting)),
    ("num_grammar_queue_reqs", "The number of requests in the grammar waiting queue.", |_| 0.0),
    ("cache_hit_rate", "The prefix cache hit rate.", |l| l.cache_hit_rate),
    ("num_retracted_reqs", "The number of retracted requests.", |l| l.retractions as f64),
    ("kv_evictable_tokens", "Cached tokens nobody uses.", |l| l.evictable_tokens as f64),
    ("max_total_num_tokens", "KV capacity in tokens.", |l| l.capacity_tokens as f64),
    ("decode_sum_seq_lens", "Sum of the running sequences' lengths.", |l| l.resident_tokens as f64),
];

/// The labels of a gauge of one rank.
fn labels(server: &ServerState, rank: usize) -> String {
    let config = server.config();
    let experts = if config.version == SglangVersion::Stock { ",moe_ep_rank=\"0\"" } else { "" };
    let ranks = if config.dp_size > 1 { format!(",dp_rank=\"{rank}\"") } else { String::new() };
    let model = &config.model_name;
    format!("engine_type=\"unified\",model_name=\"{model}\"{experts},pp_rank=\"0\",tp_rank=\"0\"{ranks}")
}

fn family(out: &mut String, [name, help, kind, labels]: [&str; 4], value: f64) {
    let _ = writeln!(
        out,
        "# HELP sglang:{name} {help}\n# TYPE sglang:{name} {kind}\nsglang:{name}{{{labels}}} {value:?}"
    );
}
