//! `/metrics` in Prometheus text form, under SGLang's own names.

use std::fmt::Write as _;

use http::StatusCode;

use crate::config::Meta;
use crate::errors::with_type;
use crate::server::Server;
use crate::stream::Reply;

/// The page.
pub(crate) fn page(server: &Server) -> Reply {
    let stats = server.driver().stats();
    let load = &stats.load;
    let model = &server.config().model_name;
    let labels = match server.config().meta {
        Meta::Classic => {
            format!("engine_type=\"unified\",model_name=\"{model}\",pp_rank=\"0\",tp_rank=\"0\"")
        }
        Meta::Stock => format!(
            "engine_type=\"unified\",model_name=\"{model}\",moe_ep_rank=\"0\",pp_rank=\"0\",tp_rank=\"0\""
        ),
    };
    let short = format!("model_name=\"{model}\"");
    let mut out = String::with_capacity(4096);
    let gauges = [
        ("num_running_reqs", "The number of running requests.", f64::from(load.running)),
        ("num_used_tokens", "The number of used tokens.", load.used_tokens as f64),
        ("token_usage", "The token usage.", load.kv_usage),
        ("gen_throughput", "The generation throughput (token/s).", load.gen_throughput),
        ("num_queue_reqs", "The number of requests in the waiting queue.", f64::from(load.waiting)),
        ("num_grammar_queue_reqs", "The number of requests in the grammar waiting queue.", 0.0),
        ("cache_hit_rate", "The prefix cache hit rate.", load.cache_hit_rate),
        ("num_retracted_reqs", "The number of retracted requests.", load.retractions as f64),
        ("kv_evictable_tokens", "Cached tokens nobody uses.", load.evictable_tokens as f64),
        ("max_total_num_tokens", "KV capacity in tokens.", load.capacity_tokens as f64),
        ("decode_sum_seq_lens", "Sum of the running sequences' lengths.", load.resident_tokens as f64),
    ];
    for (name, help, value) in gauges {
        family(&mut out, [name, help, "gauge", &labels], value);
    }
    let counters = [
        (
            "prompt_tokens_total",
            "Number of prefill tokens processed.",
            server.driver().prompt_tokens_total() as f64,
        ),
        ("generation_tokens_total", "Number of generation tokens processed.", stats.output_tokens as f64),
        ("cached_tokens_total", "Number of cached prompt tokens.", load.prefill_cached_tokens as f64),
        ("num_requests_total", "Number of requests processed.", stats.completed as f64),
        ("num_aborted_requests_total", "Number of requests aborted.", stats.aborted as f64),
    ];
    for (name, help, value) in counters {
        family(&mut out, [name, help, "counter", &short], value);
    }
    // No server has these: they tell how well this machine plays one.
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

fn family(out: &mut String, [name, help, kind, labels]: [&str; 4], value: f64) {
    let _ = writeln!(
        out,
        "# HELP sglang:{name} {help}\n# TYPE sglang:{name} {kind}\nsglang:{name}{{{labels}}} {value:?}"
    );
}
