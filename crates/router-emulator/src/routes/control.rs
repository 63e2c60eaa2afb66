//! Control routes: pauses, weight updates, adapters, memory, profiling.
//!
//! The emulator has no weights. It keeps what a client can see of them: their version, and whether generation is paused.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::body::HttpResponse;
use crate::api::errors::{self, json_response, with_type};
use crate::engine_task::driver::EngineDriver;
use crate::state::ServerState;

/// The members of control bodies; each route reads its own.
#[derive(Debug, Default, Deserialize)]
struct ControlBody {
    mode: Option<String>,
    model_path: Option<String>,
    weight_version: Option<String>,
    new_version: Option<String>,
    group_name: Option<String>,
    lora_name: Option<String>,
    lora_path: Option<String>,
    #[serde(default)]
    abort_all_requests: bool,
}

/// Whether a route changes weights or adapters, which the fault `fail_update` prevents.
pub(crate) fn is_update(path: &str) -> bool {
    path.starts_with("/update_weight") || path == "/load_lora_adapter"
}

/// What an update answers under the fault `fail_update`.
pub(crate) fn failed_update() -> HttpResponse {
    outcome(false, "fault on demand")
}

/// The response of a control route; `None` where there is none at `path`.
pub(crate) fn route(server: &ServerState, method: &Method, path: &str, body: &[u8]) -> Option<HttpResponse> {
    let (get, post) = (*method == Method::GET, *method == Method::POST);
    let is_known = match path {
        "/release_memory_occupation" | "/resume_memory_occupation" | "/start_profile" | "/stop_profile" => {
            get || post
        }
        "/pause_generation"
        | "/continue_generation"
        | "/update_weights_from_disk"
        | "/update_weights_from_tensor"
        | "/update_weights_from_distributed"
        | "/update_weights_from_ipc"
        | "/update_weight_version"
        | "/init_weights_update_group"
        | "/destroy_weights_update_group"
        | "/load_lora_adapter"
        | "/unload_lora_adapter" => post,
        _ => false,
    };
    if !is_known {
        return None;
    }
    let text = if body.is_empty() { b"{}" } else { body };
    let parsed = match errors::parse::<ControlBody>(text, "the control route") {
        Ok(parsed) => parsed,
        Err(malformed) => return Some(malformed.response()),
    };
    Some(match path {
        "/pause_generation" | "/continue_generation" => pause(server, path, &parsed),
        "/release_memory_occupation" | "/resume_memory_occupation" => {
            json_response(StatusCode::OK, &Value::Null)
        }
        "/start_profile" | "/stop_profile" => profile(server, path == "/start_profile"),
        "/load_lora_adapter" | "/unload_lora_adapter" => {
            adapter(server, path == "/load_lora_adapter", parsed)
        }
        "/init_weights_update_group" | "/destroy_weights_update_group" => {
            group(server, path == "/init_weights_update_group", parsed)
        }
        _ => update(server, path, parsed),
    })
}

fn pause(server: &ServerState, path: &str, body: &ControlBody) -> HttpResponse {
    let is_pause = path == "/pause_generation";
    server.control.set_paused(is_pause);
    if is_pause && body.mode.as_deref().unwrap_or("abort") == "abort" {
        server.ranks().iter().for_each(EngineDriver::abort_all);
    }
    let what = if is_pause { "paused" } else { "continued" };
    let message = format!("Generation {what} successfully.");
    json_response(StatusCode::OK, &json!({"message": message, "status": "ok"}))
}

fn profile(server: &ServerState, is_start: bool) -> HttpResponse {
    let was = std::mem::replace(&mut server.control.changed.lock().is_profiling, is_start);
    let (status, text) = match (is_start, was) {
        (true, false) => (StatusCode::OK, "Start profiling.\n"),
        (true, true) => (StatusCode::BAD_REQUEST, "Profiling is already in progress.\n"),
        (false, true) => (StatusCode::OK, "Stop profiling. This will take some time.\n"),
        (false, false) => (StatusCode::BAD_REQUEST, "Profiling is not in progress.\n"),
    };
    with_type(status, "text/plain; charset=utf-8", text.into())
}

fn adapter(server: &ServerState, is_load: bool, body: ControlBody) -> HttpResponse {
    let mut changed = server.control.changed.lock();
    let error = match (body.lora_name, body.lora_path) {
        (None, _) => Some("lora_name is missing".to_owned()),
        (Some(_), None) if is_load => Some("lora_path is missing".to_owned()),
        (Some(name), _) if is_load == changed.adapters.contains_key(&name) => {
            let problem = if is_load { "is loaded already" } else { "is not loaded" };
            Some(format!("LoRA adapter '{name}' {problem}"))
        }
        (Some(name), Some(path)) if is_load => {
            changed.adapters.insert(name, path);
            None
        }
        (Some(name), _) => {
            changed.adapters.remove(&name);
            None
        }
    };
    let status = if error.is_none() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let answer = json!({"success": error.is_none(), "error_message": error.unwrap_or_default(),
        "loaded_adapters": changed.adapters});
    json_response(status, &answer)
}

fn group(server: &ServerState, is_init: bool, body: ControlBody) -> HttpResponse {
    let name = body.group_name.unwrap_or_else(|| "weight_update_group".to_owned());
    let mut changed = server.control.changed.lock();
    let is_done = if is_init { changed.groups.insert(name.clone()) } else { changed.groups.remove(&name) };
    match (is_done, is_init) {
        (true, true) => outcome(true, "Succeeded to initialize custom process group."),
        (true, false) => outcome(true, "Succeeded to destroy custom process group."),
        (false, true) => outcome(false, &format!("group {name} is initialized already")),
        (false, false) => outcome(false, &format!("group {name} is not initialized")),
    }
}

fn update(server: &ServerState, path: &str, body: ControlBody) -> HttpResponse {
    let group = body.group_name.unwrap_or_else(|| "weight_update_group".to_owned());
    let has_group = server.control.changed.lock().groups.contains(&group);
    let problem = match path {
        "/update_weights_from_disk" if body.model_path.is_none() => Some("model_path is missing".to_owned()),
        "/update_weights_from_distributed" if !has_group => Some(format!("group {group} is not initialized")),
        "/update_weight_version" if body.new_version.is_none() => Some("new_version is missing".to_owned()),
        _ => None,
    };
    if let Some(problem) = problem {
        return outcome(false, &problem);
    }
    if body.abort_all_requests {
        server.ranks().iter().for_each(EngineDriver::abort_all);
    }
    for rank in server.ranks() {
        // A rank with requests keeps its cache, as it does for /flush_cache.
        rank.flush_cache();
    }
    if let Some(version) = body.weight_version.or(body.new_version) {
        server.control.changed.lock().weight_version = Some(version);
    }
    outcome(true, "Succeeded to update model weights.")
}

fn outcome(is_success: bool, message: &str) -> HttpResponse {
    let status = if is_success { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    json_response(status, &json!({"success": is_success, "message": message}))
}
