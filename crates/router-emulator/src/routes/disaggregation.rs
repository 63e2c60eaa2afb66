//! How a prefill or decode server changes requests and responses, and its errors when the other server is missing.

use http::StatusCode;

use crate::api::body::HttpResponse;
use crate::api::errors::{self, one_event, openai_stream_error, with_type};
use crate::api::formats::ApiFormat;
use crate::api::meta_info::quoted;
use crate::config::ServerRole;
use crate::routes::disaggregation_params::{KvTransfer, offers};
use crate::routes::plan::{GenerationPlan, RequestContext, StartedGeneration};
use crate::state::ServerState;

/// Restricts the plan to what a server of this role does.
pub(crate) fn prepare(server: &ServerState, plan: &mut GenerationPlan, context: &RequestContext) {
    let rank = (server.config().dp_size > 1).then(|| context.rank.unwrap_or_else(|| server.next_rank()));
    for generation in &mut plan.generations {
        generation.rank = rank;
        match server.config().role {
            ServerRole::Unified => {}
            ServerRole::Prefill => generation.limit_to_prefill(),
            ServerRole::Decode => generation.limit_to_decode(),
        }
        if context.logprobs {
            generation.add_input_logprobs();
        }
    }
}

/// Waits until the prompts have been prefilled and fetched.
pub(crate) async fn hand_over(server: &ServerState, rooms: &[u64], started: &[StartedGeneration]) {
    for s in started {
        s.handle.finished().await;
    }
    for offer in offers(server, rooms) {
        offer.fetched().await;
    }
}

/// Adds `kv_transfer_params` to the response if the KV cache is kept for vLLM's protocol.
pub(crate) fn with_kv_transfer_params(
    server: &ServerState,
    transfer: &KvTransfer,
    mut body: String,
) -> String {
    let KvTransfer::Keep(key) = transfer else { return body };
    server.handover().keep(key.clone());
    let config = server.config();
    body.pop();
    body.push_str(&format!(
        ",\"kv_transfer_params\":{{\"do_remote_prefill\":true,\"do_remote_decode\":false,\
         \"remote_block_ids\":[0],\"remote_engine_id\":\"{key}\",\"remote_host\":\"{}\",\
         \"remote_port\":{},\"tp_size\":1}}}}",
        config.listen.ip(),
        config.bootstrap_port
    ));
    body
}

/// The error for a request without a bootstrap room.
pub(crate) fn missing_bootstrap_room(plan: &GenerationPlan) -> HttpResponse {
    let rid = plan.generations.first().map_or("", |generation| generation.rid.as_str());
    let message =
        format!("Invalid request: Disaggregated request received without boostrap room id. req.rid='{rid}'");
    if !matches!(plan.form.writer.api_format, ApiFormat::Generate | ApiFormat::GenerateBatch) {
        return errors::bad_request(&message);
    }
    let body = format!(
        "{{\"text\":\"\",\"meta_info\":{{\"id\":{},\"finish_reason\":{{\"type\":\"abort\",\"message\":{},\
         \"status_code\":null,\"err_type\":null}},\"prompt_tokens\":1,\"completion_tokens\":0,\
         \"cached_tokens\":0}}}}",
        quoted(rid),
        quoted(&message)
    );
    if plan.form.streamed {
        return one_event(&body);
    }
    with_type(StatusCode::OK, "application/json", body.into())
}

/// The error of a decode server whose KV cache did not arrive.
pub(crate) fn transfer_failed(plan: &GenerationPlan) -> HttpResponse {
    let rid = plan.generations.first().map_or("", |generation| generation.rid.as_str());
    let message = format!("Decode transfer failed for request rank=0 decode_req.req.rid='{rid}'");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    match (plan.form.streamed, plan.form.writer.api_format) {
        (false, _) => errors::openai(status, "InternalServerError", &message),
        (true, ApiFormat::Generate | ApiFormat::GenerateBatch) => one_event(&format!(
            "{{\"text\":\"\",\"meta_info\":{{\"id\":{},\"finish_reason\":{{\"type\":\"abort\",\"message\":{},\
             \"status_code\":500,\"err_type\":\"InternalServerError\"}},\"completion_tokens\":0}}}}",
            quoted(rid),
            quoted(&message)
        )),
        (true, _) => openai_stream_error("InternalServerError", &message, status),
    }
}
