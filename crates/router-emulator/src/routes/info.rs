//! Information routes: the server, its model and its load.

use http::StatusCode;
use serde_json::{Value, json};

use crate::api::body::HttpResponse;
use crate::api::errors::json_response;
use crate::clock::iso8601;
use crate::config::SglangVersion;
use crate::engine_task::driver::EngineDriver;
use crate::state::ServerState;

/// Version each version reports.
fn version(version: SglangVersion) -> &'static str {
    match version {
        SglangVersion::Classic => "0.4.9.post3",
        SglangVersion::Stock => "0.5.23",
    }
}

/// The response of an information route; `None` where this version has no such route.
pub(crate) fn route(server: &ServerState, path: &str, query: &str) -> Option<HttpResponse> {
    let version = server.config().version;
    let body = match (path, version) {
        ("/get_model_info", _) | ("/model_info", SglangVersion::Stock) => model_info(server),
        ("/get_server_info", _) | ("/server_info", SglangVersion::Stock) => server_info(server),
        ("/v1/models", _) => models(server),
        ("/get_load", SglangVersion::Classic) => get_load(server),
        ("/v1/loads", SglangVersion::Stock) => v1_loads(server, query),
        _ => return one_model(server, path),
    };
    Some(json_response(StatusCode::OK, &body))
}

fn one_model(server: &ServerState, path: &str) -> Option<HttpResponse> {
    let name = path.strip_prefix("/v1/models/")?;
    if name == server.config().model_name {
        return Some(json_response(StatusCode::OK, &models(server)["data"][0]));
    }
    let message = format!("The model '{name}' does not exist");
    let error = json!({"message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found"});
    Some(json_response(StatusCode::NOT_FOUND, &json!({ "error": error })))
}

pub(crate) fn model_info(server: &ServerState) -> Value {
    let name = &server.config().model_name;
    match server.config().version {
        SglangVersion::Classic => {
            json!({"model_path": name, "tokenizer_path": name, "is_generation": true, "preferred_sampling_params": null})
        }
        SglangVersion::Stock => json!({
            "model_path": name, "served_model_name": name, "tokenizer_path": name, "is_generation": true,
            "preferred_sampling_params": null, "weight_version": server.control.weight_version(), "load_format": "auto",
            "reasoning_parser": null, "tool_call_parser": null,
            "disaggregation_mode": server.config().role.as_str(),
            "has_image_understanding": false, "has_audio_understanding": false, "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
        }),
    }
}

pub(crate) fn server_info(server: &ServerState) -> Value {
    let config = server.config();
    let limits = config.limits.unwrap_or(config.profile.limits);
    let state = |rank: &EngineDriver| {
        let mut state = json!({
            "last_gen_throughput": rank.stats().load.gen_throughput,
            "memory_usage": {"weight": 0.0, "kvcache": 0.0, "token_capacity": limits.kv_tokens},
            "max_running_requests": limits.max_running,
            "effective_max_running_requests_per_dp": limits.max_running,
        });
        if config.version == SglangVersion::Classic {
            state["load"] = json!(load_tokens(server));
        }
        state
    };
    let states: Vec<_> = server.ranks().iter().map(state).collect();
    let mut info = json!({
        "model_path": config.model_name, "tokenizer_path": config.model_name,
        "served_model_name": config.model_name, "host": config.listen.ip().to_string(),
        "port": config.listen.port(), "is_embedding": false, "device": "emulated",
        "max_running_requests": limits.max_running, "max_queued_requests": limits.max_queued,
        "max_total_tokens": limits.kv_tokens, "max_prefill_tokens": limits.max_prefill_tokens,
        "schedule_policy": "fcfs", "page_size": 1, "tp_size": 1, "dp_size": config.dp_size, "pp_size": 1,
        "enable_metrics": true, "api_key": null, "disaggregation_mode": config.role.as_str(),
        "disaggregation_bootstrap_port": if config.bootstrap_port == 0 { 8998 } else { config.bootstrap_port }, "status": "ready", "random_seed": config.seed,
        "max_total_num_tokens": limits.kv_tokens, "max_req_input_len": limits.context_tokens.saturating_sub(6),
        "internal_states": states, "version": version(config.version),
        "emulated_profile": config.profile.name,
    });
    if config.version == SglangVersion::Stock {
        info["grpc_port"] = config.grpc_port.into();
        info["weight_version"] = server.control.weight_version().into();
    }
    info
}

fn models(server: &ServerState) -> Value {
    let name = &server.config().model_name;
    let clock = server.driver().clock();
    let mut model = json!({
        "id": name, "object": "model", "created": clock.unix(clock.now()) as u64, "owned_by": "sglang",
        "root": name, "max_model_len": server.model().context_tokens,
    });
    if server.config().version == SglangVersion::Stock {
        model["parent"] = Value::Null;
    }
    let adapter = |id: String| {
        let mut adapter = model.clone();
        (adapter["id"], adapter["root"], adapter["parent"]) =
            (id.as_str().into(), id.into(), name.as_str().into());
        adapter
    };
    let adapters: Vec<_> = server.control.adapters().into_iter().map(adapter).collect();
    let all: Vec<_> = std::iter::once(model.clone()).chain(adapters).collect();
    json!({"object": "list", "data": all})
}

/// SGLang 0.4: tokens held by running requests plus prompt tokens waiting; one number, the first rank's.
fn load_tokens(server: &ServerState) -> u64 {
    let load = server.driver().stats().load;
    load.used_tokens + load.waiting_tokens
}

fn get_load(server: &ServerState) -> Value {
    json!({"load": load_tokens(server)})
}

fn v1_loads(server: &ServerState, query: &str) -> Value {
    let include = query.split('&').find_map(|pair| pair.strip_prefix("include="));
    let config = server.config();
    let clock = server.driver().clock();
    let now = clock.unix(clock.now());
    let loads: Vec<_> = server
        .ranks()
        .iter()
        .zip(0..)
        .map(|(driver, rank)| rank_load(server, driver, rank, include))
        .collect();
    json!({
        "timestamp": iso8601(now), "version": version(config.version), "accelerator": config.profile.name,
        "num_accelerators": config.dp_size, "loads": loads,
    })
}

/// One entry of `loads`, with the sections that `include` names.
fn rank_load(server: &ServerState, driver: &EngineDriver, rank: u32, include: Option<&str>) -> Value {
    let includes =
        |section: &str| include.is_none_or(|list| list.split(',').any(|s| s == section || s == "all"));
    let config = server.config();
    let limits = config.limits.unwrap_or(config.profile.limits);
    let now = driver.clock().unix(driver.clock().now());
    let stats = driver.stats();
    let load = &stats.load;
    let total = load.used_tokens + load.waiting_tokens;
    let round = |x: f64, digits: i32| (x * 10f64.powi(digits)).round() / 10f64.powi(digits);
    let mut entry = json!({
        "timestamp": now, "dp_rank": rank, "num_running_reqs": load.running, "num_waiting_reqs": load.waiting,
        "num_waiting_uncached_tokens": load.waiting_tokens, "num_used_tokens": load.used_tokens,
        "num_total_tokens": total, "num_active_tokens": total, "num_prealloc_ready_tokens": 0,
        "max_total_num_tokens": limits.kv_tokens, "max_running_requests": limits.max_running,
        "token_usage": round(load.kv_usage, 4), "gen_throughput": round(load.gen_throughput, 2),
        "cache_hit_rate": round(load.cache_hit_rate, 4), "utilization": 0.0,
        "total_prefill_uncached_tokens": load.prefill_uncached_tokens,
        "total_prefill_busy_us": load.prefill_busy.as_micros() as u64,
        "decode_moments": load.decode_moments.to_array().map(f64::round),
    });
    if includes("memory") {
        entry["memory"] = json!({"weight_gb": 0.0, "kv_cache_gb": 0.0, "graph_gb": 0.0, "token_capacity": limits.kv_tokens});
    }
    if includes("disagg") {
        entry["disaggregation"] = json!({
            "mode": config.role.as_str(), "prefill_bootstrap_queue_reqs": 0, "prefill_inflight_queue_reqs": 0,
            "decode_prealloc_queue_reqs": 0, "decode_transfer_queue_reqs": 0, "decode_retracted_queue_reqs": 0,
            "kv_transfer_speed_gb_s": 0.0, "kv_transfer_latency_ms": 0.0,
        });
    }
    if includes("queues") {
        entry["queues"] =
            json!({"waiting": load.waiting, "grammar": 0, "paused": 0, "retracted": 0, "prealloc_ready": 0});
    }
    entry
}
