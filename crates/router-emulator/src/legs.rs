//! What a prefill or a decode server does of a request, and what it says when the other one is missing.

use http::StatusCode;

use crate::chunks::Face;
use crate::config::ServerRole;
use crate::errors::{self, with_type};
use crate::generate::{Call, Plan, Started, one_event, openai_stream_error};
use crate::meeting::{Part, offers};
use crate::meta::quoted;
use crate::server::Server;
use crate::stream::Reply;

/// Makes of the plan what a server of this role does of it.
pub(crate) fn prepare(server: &Server, plan: &mut Plan, call: &Call) {
    let rank = (server.config().dp_size > 1).then(|| call.rank.unwrap_or_else(|| server.next_rank()));
    for ask in &mut plan.asks {
        ask.rank = rank;
        match server.config().role {
            ServerRole::Unified => {}
            ServerRole::Prefill => ask.only_read(),
            ServerRole::Decode => ask.only_write(),
        }
        if call.logprobs {
            ask.add_input_logprobs();
        }
    }
}

/// Waits until the prompts are read and fetched.
pub(crate) async fn hand_over(server: &Server, rooms: &[u64], started: &[Started]) {
    for s in started {
        s.run.finished().await;
    }
    for offer in offers(server, rooms) {
        offer.fetched().await;
    }
}

/// An answer that says where its prompt is kept, if it is.
pub(crate) fn kept(server: &Server, part: &Part, mut body: String) -> String {
    let Part::Keep(key) = part else { return body };
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

/// What a server says that should meet another one and is not told where.
pub(crate) fn homeless(plan: &Plan) -> Reply {
    let rid = plan.asks.first().map_or("", |ask| ask.rid.as_str());
    let message =
        format!("Invalid request: Disaggregated request received without boostrap room id. req.rid='{rid}'");
    if !matches!(plan.form.chunks.face, Face::Generate | Face::GenerateBatch) {
        return errors::bad_request(&message);
    }
    let answer = format!(
        "{{\"text\":\"\",\"meta_info\":{{\"id\":{},\"finish_reason\":{{\"type\":\"abort\",\"message\":{},\
         \"status_code\":null,\"err_type\":null}},\"prompt_tokens\":1,\"completion_tokens\":0,\
         \"cached_tokens\":0}}}}",
        quoted(rid),
        quoted(&message)
    );
    if plan.form.streamed {
        return one_event(&answer);
    }
    with_type(StatusCode::OK, "application/json", answer.into())
}

/// What a decode server says whose prompt never came.
pub(crate) fn bereft(plan: &Plan) -> Reply {
    let rid = plan.asks.first().map_or("", |ask| ask.rid.as_str());
    let message = format!("Decode transfer failed for request rank=0 decode_req.req.rid='{rid}'");
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    match (plan.form.streamed, plan.form.chunks.face) {
        (false, _) => errors::openai(status, "InternalServerError", &message),
        (true, Face::Generate | Face::GenerateBatch) => one_event(&format!(
            "{{\"text\":\"\",\"meta_info\":{{\"id\":{},\"finish_reason\":{{\"type\":\"abort\",\"message\":{},\
             \"status_code\":500,\"err_type\":\"InternalServerError\"}},\"completion_tokens\":0}}}}",
            quoted(rid),
            quoted(&message)
        )),
        (true, _) => openai_stream_error("InternalServerError", &message, status),
    }
}
