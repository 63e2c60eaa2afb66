//! The control calls of engines, which go to workers and not to one worker: what they are called and what they do.

use http::Method;
use router_upstream::UpdateScope;

/// The methods that a call may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CallMethods {
    Get,
    Post,
    Both,
}

/// What a call means to the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CallEffect {
    /// Nothing: only its outcome counts.
    None,
    /// It empties the prefix cache, or takes the memory away that it lies in.
    EmptiesCache,
    /// It updates weights.
    Update(UpdateScope),
    /// It calls a function of the engine by name, which may update weights.
    Function,
    /// Updates before it and after it are not the same one.
    Round,
    /// The first call of an update, which the parts follow.
    Start,
    /// It loads or unloads an adapter, so that the worker serves other names.
    Adapters,
    /// It makes each worker a member of a group of processes, each with ranks of its own.
    Group,
}

/// A control call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ControlCall {
    pub(super) path: &'static str,
    methods: CallMethods,
    pub(super) effect: CallEffect,
}

const fn call(path: &'static str, methods: CallMethods, effect: CallEffect) -> ControlCall {
    ControlCall { path, methods, effect }
}

const fn post(path: &'static str) -> ControlCall {
    call(path, CallMethods::Post, CallEffect::None)
}

const fn adapters(path: &'static str) -> ControlCall {
    call(path, CallMethods::Post, CallEffect::Adapters)
}

const fn empties_cache(path: &'static str, methods: CallMethods) -> ControlCall {
    call(path, methods, CallEffect::EmptiesCache)
}

const fn both(path: &'static str) -> ControlCall {
    call(path, CallMethods::Both, CallEffect::None)
}

const fn get(path: &'static str) -> ControlCall {
    call(path, CallMethods::Get, CallEffect::None)
}

const fn update(path: &'static str, scope: UpdateScope) -> ControlCall {
    call(path, CallMethods::Post, CallEffect::Update(scope))
}

/// All control calls of SGLang and vLLM, by path. `/flush_cache` and `/abort_request` have responses of their own.
const CALLS: [ControlCall; 49] = [
    post("/abort_requests"),
    both("/clear_hicache_storage_backend"),
    call("/collective_rpc", CallMethods::Post, CallEffect::Function),
    both("/configure_logging"),
    call("/continue_generation", CallMethods::Post, CallEffect::Round),
    post("/destroy_weights_update_group"),
    both("/dump_expert_distribution_record"),
    update("/finish_weight_update", UpdateScope::Part),
    both("/freeze_gc"),
    call("/init_weight_transfer_engine", CallMethods::Post, CallEffect::Group),
    post("/init_weights_send_group_for_remote_instance"),
    call("/init_weights_update_group", CallMethods::Post, CallEffect::Group),
    get("/is_paused"),
    get("/is_sleeping"),
    adapters("/load_lora_adapter"),
    adapters("/load_lora_adapter_from_tensors"),
    call("/pause", CallMethods::Post, CallEffect::Round),
    call("/pause_generation", CallMethods::Post, CallEffect::Round),
    empties_cache("/release_memory_occupation", CallMethods::Both),
    post("/reset_encoder_cache"),
    post("/reset_mm_cache"),
    empties_cache("/reset_prefix_cache", CallMethods::Post),
    call("/resume", CallMethods::Post, CallEffect::Round),
    both("/resume_memory_occupation"),
    post("/scale_elastic_ep"),
    post("/send_weights_to_remote_instance"),
    post("/set_internal_state"),
    both("/set_trace_level"),
    empties_cache("/sleep", CallMethods::Post),
    both("/slow_down"),
    call("/start_draft_weight_update", CallMethods::Post, CallEffect::Start),
    both("/start_expert_distribution_record"),
    both("/start_profile"),
    call("/start_weight_update", CallMethods::Post, CallEffect::Start),
    both("/stop_expert_distribution_record"),
    both("/stop_profile"),
    adapters("/unload_lora_adapter"),
    update("/update_weight_version", UpdateScope::Version),
    update("/update_weights", UpdateScope::Part),
    update("/update_weights_from_disk", UpdateScope::Whole),
    update("/update_weights_from_distributed", UpdateScope::Part),
    update("/update_weights_from_ipc", UpdateScope::Whole),
    update("/update_weights_from_tensor", UpdateScope::Part),
    adapters("/v1/load_lora_adapter"),
    adapters("/v1/unload_lora_adapter"),
    post("/wake_up"),
    post("/weight_checker"),
    get("/weight_info"),
    post("/weights_checker"),
];

impl ControlCall {
    /// The control call of a request, if it is one.
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let at = CALLS.binary_search_by(|call| call.path.cmp(path)).ok()?;
        let call = CALLS[at];
        let is_known = match call.methods {
            CallMethods::Get => *method == Method::GET,
            CallMethods::Post => *method == Method::POST,
            CallMethods::Both => *method == Method::GET || *method == Method::POST,
        };
        is_known.then_some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found() {
        assert!(CALLS.is_sorted_by_key(|call| call.path));
        for known in CALLS {
            let method = if known.methods == CallMethods::Get { Method::GET } else { Method::POST };
            assert_eq!(ControlCall::of(&method, known.path), Some(known));
        }
        assert_eq!(ControlCall::of(&Method::GET, "/sleep"), None);
        assert_eq!(ControlCall::of(&Method::POST, "/generate"), None);
    }
}
