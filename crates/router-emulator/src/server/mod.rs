//! The routes of one emulated server.

pub(crate) mod listener;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION, SERVER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;

use crate::api::body::{AbortedBody, HttpResponse, ResponseBody};
use crate::api::errors::{self, json_response, with_type};
use crate::api::faulty_body::FaultyBody;
use crate::api::generation::{ChoiceId, Generation, Prompt, SamplingParams};
use crate::config::SglangVersion;
use crate::engine_task::driver::{EngineDriver, RidPolicy};
use crate::faults::{ConnectionFault, Fault, FaultKind, FaultScope, FaultSwitch};
use crate::routes::disaggregation_params::DisaggregationParams;
use crate::routes::plan::RequestContext;
use crate::routes::{control, generate, info, metrics, scoring};
use crate::state::ServerState;

/// Largest request body taken.
const MAX_BODY: usize = 64 << 20;

/// [`FaultKind::CloseKept`] closes a connection within this time.
const MAX_KEPT: Duration = Duration::from_millis(50);

/// Handles one request.
///
/// # Errors
/// The connection must end without a complete response.
pub(crate) async fn serve<B>(
    server: Arc<ServerState>,
    switch: FaultSwitch,
    request: Request<B>,
) -> Result<HttpResponse, AbortedBody>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path != "/_fault" && !authorised(&server, path, &parts.headers) {
        return Ok(finish(json_response(StatusCode::UNAUTHORIZED, &json!({"error": "Unauthorized"}))));
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return Ok(finish(errors::empty(StatusCode::PAYLOAD_TOO_LARGE))),
    };
    if path == "/_fault" {
        return Ok(finish(fault_route(&server, &parts.method, &body)));
    }
    let fault = server.faults.strike(scope(path));
    match fault.as_ref().map(|f| f.kind) {
        Some(FaultKind::Hang) => std::future::pending().await,
        Some(FaultKind::Status | FaultKind::Unhealthy) => return Ok(finish(error_status(fault.as_ref()))),
        Some(FaultKind::ResetBeforeFirstByte) => return cut(&switch, ConnectionFault::Reset),
        Some(FaultKind::Garbage) => return cut(&switch, ConnectionFault::Garbage),
        Some(FaultKind::FailUpdate) => return Ok(finish(control::failed_update())),
        Some(FaultKind::CloseKept) => switch.close_after(server.random_delay(MAX_KEPT)),
        _ => {}
    }
    if scope(path) == FaultScope::Inference {
        server.control.running().await;
    }
    let params = DisaggregationParams::read(&body);
    let rank = rank_in(&parts.headers).or(params.rank());
    if let Some(rank) = rank.filter(|rank| *rank >= server.config().dp_size) {
        let message = format!("routed_dp_rank={rank} out of range [0, {})", server.config().dp_size);
        return Ok(finish(errors::bad_request(&message)));
    }
    let context = RequestContext {
        switch: switch.clone(),
        forced: forced_length(&parts.headers),
        logprobs: params.return_logprob,
        kv_transfer: params.kv_transfer(&server),
        rank,
    };
    let known = route(&server, &parts, &body, context).await?;
    let response = known.unwrap_or_else(|| unknown(&server, path));
    Ok(finish(match fault {
        Some(fault) if strikes_body(fault.kind) => break_body(response, &fault, switch),
        _ => response,
    }))
}

/// The response of the route, or `None` where there is no such route.
async fn route(
    server: &ServerState,
    parts: &http::request::Parts,
    body: &[u8],
    context: RequestContext,
) -> Result<Option<HttpResponse>, AbortedBody> {
    let (get, post) = (parts.method == Method::GET, parts.method == Method::POST);
    let put = parts.method == Method::PUT;
    // 0.4 does not have Anthropic's API.
    let stock = server.config().version == SglangVersion::Stock;
    let response = match parts.uri.path() {
        "/generate" if post || put => generate::generate(server, body, context).await?,
        "/v1/chat/completions" if post => generate::chat(server, body, context).await?,
        "/v1/completions" if post => generate::completions(server, body, context).await?,
        "/v1/responses" if post => generate::responses(server, body, context).await?,
        "/v1/messages" if post && stock => generate::anthropic_messages(server, body, context).await?,
        "/v1/messages/count_tokens" if post && stock => scoring::count_tokens(body),
        "/v1/embeddings" if post => scoring::embeddings(server, body),
        "/rerank" | "/v1/rerank" if post || put => scoring::rerank(server, body),
        "/v1/classify" | "/classify" if post => scoring::classify(server, body),
        "/v1/score" if post => scoring::likelihoods(server, body),
        "/tokenize" | "/v1/tokenize" if post => scoring::tokenize(server, body),
        "/detokenize" | "/v1/detokenize" if post => scoring::detokenize(body),
        "/" if get => json_response(StatusCode::OK, &"SGLang is running"),
        "/health" | "/ping" if get => errors::empty(StatusCode::OK),
        "/health_generate" if get => health_generate(server).await,
        "/metrics" if get => metrics::page(server),
        "/flush_cache" if get || post => flush_cache(server),
        "/abort_request" if post => abort_request(server, body),
        path => {
            let query = parts.uri.query().unwrap_or("");
            let info = if get { info::route(server, path, query) } else { None };
            return Ok(info.or_else(|| control::route(server, &parts.method, path, body)));
        }
    };
    Ok(Some(response))
}

/// Routes that exist under another method, with the methods they take.
const OTHER_METHODS: &[(&str, &str)] = &[
    ("/generate", "PUT, POST"),
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/v1/responses", "POST"),
    ("/v1/messages", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/rerank", "PUT, POST"),
    ("/v1/classify", "POST"),
    ("/abort_request", "POST"),
    ("/health", "GET"),
    ("/v1/models", "GET"),
    ("/flush_cache", "GET, POST"),
];

fn unknown(server: &ServerState, path: &str) -> HttpResponse {
    let is_known = |known: &str| {
        known == path && (known != "/v1/messages" || server.config().version == SglangVersion::Stock)
    };
    let Some((_, allow)) = OTHER_METHODS.iter().find(|(known, _)| is_known(known)) else {
        tracing::debug!(path, model = server.config().model_name, "no such route");
        return json_response(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"}));
    };
    let mut response =
        json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn finish(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
    response
}

/// Whether the headers have the server's key, where it has one and the path needs it.
pub(crate) fn authorised(server: &ServerState, path: &str, headers: &HeaderMap) -> bool {
    let Some(key) = &server.config().api_key else { return true };
    if path.starts_with("/health") || path.starts_with("/metrics") {
        return true;
    }
    let given =
        headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    given == Some(key.as_str())
}

/// The data-parallel rank that the headers name; it takes precedence over the body's.
fn rank_in(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-data-parallel-rank")?.to_str().ok()?.parse().ok()
}

fn forced_length(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-emulate-output-tokens")?.to_str().ok()?.parse().ok()
}

/// Generates one token, as a real server does to check that its scheduler runs.
async fn health_generate(server: &ServerState) -> HttpResponse {
    let sampling = SamplingParams { ignore_eos: true, ..SamplingParams::default() };
    let generation: Generation =
        server.model().plan(ChoiceId { rid: server.new_id(), index: 0 }, &Prompt::Ids(vec![0]), &sampling, 1);
    match server.driver().submit(&generation.rid, RidPolicy::Shared, generation.job()) {
        Ok(handle) => {
            handle.finished().await;
            errors::empty(StatusCode::OK)
        }
        Err(_) => errors::empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn flush_cache(server: &ServerState) -> HttpResponse {
    const FLUSHED: &str = "Cache flushed.\nPlease check backend logs for more details. (When there are running or \
                           waiting requests, the operation will not be performed.)\n";
    // Flush every rank, even after one refused.
    let flushed = server.ranks().iter().filter(|rank| !rank.flush_cache()).count() == 0;
    let status = if flushed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let text = match (flushed, server.config().version) {
        (false, crate::config::SglangVersion::Stock) => "Flush cache failed.\n",
        // 0.4 claims success even when it refuses.
        _ => FLUSHED,
    };
    with_type(status, "text/plain; charset=utf-8", text.into())
}

#[derive(serde::Deserialize)]
struct AbortBody {
    #[serde(default)]
    rid: Option<String>,
    #[serde(default)]
    abort_all: bool,
}

fn abort_request(server: &ServerState, body: &[u8]) -> HttpResponse {
    let parsed: AbortBody = match errors::parse(body, "/abort_request") {
        Ok(parsed) => parsed,
        Err(malformed) => return malformed.response(),
    };
    match parsed {
        AbortBody { abort_all: true, .. } => server.ranks().iter().for_each(EngineDriver::abort_all),
        AbortBody { rid: Some(rid), .. } => server.ranks().iter().for_each(|rank| rank.abort_rid(&rid)),
        AbortBody { .. } => {}
    }
    // A real server says 200 for an unknown id too.
    errors::empty(StatusCode::OK)
}

fn scope(path: &str) -> FaultScope {
    let inference =
        ["/generate", "/v1/chat", "/v1/completions", "/v1/responses", "/v1/embeddings", "/rerank"];
    let more = ["/v1/rerank", "/classify", "/v1/classify", "/v1/score"];
    if inference.iter().chain(&more).any(|p| path.starts_with(p)) {
        FaultScope::Inference
    } else if path.starts_with("/health") {
        FaultScope::Health
    } else if control::is_update(path) {
        FaultScope::Update
    } else {
        FaultScope::Information
    }
}

fn strikes_body(kind: FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::ResetMidStream
            | FaultKind::CloseEarly
            | FaultKind::HalfEvent
            | FaultKind::Stall
            | FaultKind::NoDone
            | FaultKind::ChunkedTrailers
    )
}

fn break_body(response: HttpResponse, fault: &Fault, switch: FaultSwitch) -> HttpResponse {
    let mut response =
        response.map(|body| ResponseBody::Faulty(Box::new(FaultyBody::new(body, fault, switch))));
    if fault.kind == FaultKind::ChunkedTrailers {
        response.headers_mut().insert(http::header::TRAILER, HeaderValue::from_static("x-emulator-trailer"));
    }
    response
}

fn cut(switch: &FaultSwitch, connection_fault: ConnectionFault) -> Result<HttpResponse, AbortedBody> {
    switch.set(connection_fault);
    Err(AbortedBody)
}

fn error_status(fault: Option<&Fault>) -> HttpResponse {
    let code = fault.map_or(500, |f| f.status);
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    errors::openai(status, "InternalServerError", "fault on demand")
}

/// `GET`, `POST` and `DELETE /_fault`.
fn fault_route(server: &Arc<ServerState>, method: &Method, body: &[u8]) -> HttpResponse {
    match *method {
        Method::GET => {}
        Method::DELETE => server.clear_fault(),
        Method::POST => {
            let fault: Fault = match serde_json::from_slice(body) {
                Ok(fault) => fault,
                Err(e) => return errors::bad_request(&e.to_string()),
            };
            let lasting = fault.duration().is_none_or(|d| d == Duration::ZERO);
            if matches!(fault.kind, FaultKind::Refuse | FaultKind::Crash) && lasting {
                return errors::bad_request(
                    "refuse and crash need duration_secs, since nothing else ends them",
                );
            }
            server.set_fault(fault);
        }
        _ => return errors::empty(StatusCode::METHOD_NOT_ALLOWED),
    }
    json_response(StatusCode::OK, &json!({"fault": server.faults.get()}))
}
