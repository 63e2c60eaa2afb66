//! The routes of one emulated server and the state behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION, SERVER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use router_core::Rng;
use router_engine::Engine;
use serde_json::json;

use crate::ask::{Ask, Choice, Model, Prompt, Sampling};
use crate::chunks::{Chunks, Face};
use crate::clock::Clock;
use crate::config::EmulatorConfig;
use crate::driver::{Driver, Rids};
use crate::errors::{self, json_reply, with_type};
use crate::faults::{Fate, Fault, FaultKind, Faults, FaultyBody, Scope, Switch};
use crate::generate::{self, Call};
use crate::handover::Handover;
use crate::listener::Listening;
use crate::meeting::Meeting;
use crate::request::UsageWish;
use crate::stream::{Body, Cut, Reply};
use crate::{info, metrics, scoring};

/// Largest request body taken.
const MAX_BODY: usize = 64 << 20;

/// State of one emulated server.
#[derive(Debug)]
pub(crate) struct Server {
    config: EmulatorConfig,
    model: Model,
    /// One engine for each data-parallel rank; at least one.
    ranks: Vec<Driver>,
    turn: AtomicU32,
    faults: Faults,
    listening: Listening,
    ids: Mutex<Rng>,
    handover: Arc<Handover>,
}

impl Server {
    pub(crate) fn new(config: EmulatorConfig, port: u16) -> Arc<Self> {
        let limits = config.limits.unwrap_or(config.profile.limits);
        let (timing, clock) = (config.profile.timing.at_speed(config.speed), Clock::start());
        let rank = |_| Driver::new(Engine::new(timing, limits), clock);
        let model = Model {
            seed: config.seed,
            // As SGLang: no request may be longer than the whole KV cache.
            context_tokens: limits.context_tokens.min(u32::try_from(limits.kv_tokens).unwrap_or(u32::MAX)),
            block_tokens: limits.block_tokens,
        };
        // Servers of one fleet share a seed; the port keeps their request ids apart.
        let ids = Rng::seeded(config.seed ^ (u64::from(port) << 48));
        Arc::new(Self {
            ranks: (0..config.dp_size.max(1)).map(rank).collect(),
            turn: AtomicU32::new(0),
            config,
            model,
            faults: Faults::default(),
            listening: Listening::default(),
            ids: Mutex::new(ids),
            handover: Arc::default(),
        })
    }

    pub(crate) fn config(&self) -> &EmulatorConfig {
        &self.config
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// The engine of the first rank, which is the only one of most servers.
    pub(crate) fn driver(&self) -> &Driver {
        &self.ranks[0]
    }

    /// The engines of all ranks.
    pub(crate) fn ranks(&self) -> &[Driver] {
        &self.ranks
    }

    /// The engine of one rank; the first where there is no such rank.
    pub(crate) fn rank(&self, rank: Option<u32>) -> &Driver {
        self.ranks.get(rank.unwrap_or(0) as usize).unwrap_or(self.driver())
    }

    /// The rank whose turn it is.
    pub(crate) fn next_rank(&self) -> u32 {
        self.turn.fetch_add(1, Relaxed) % self.config.dp_size.max(1)
    }

    pub(crate) fn handover(&self) -> &Arc<Handover> {
        &self.handover
    }

    pub(crate) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// A new request id, 32 hex digits as SGLang's.
    pub(crate) fn new_id(&self) -> String {
        let mut rng = self.ids.lock();
        format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64())
    }

    /// What the events of an answer share; no usage wished and one choice unless the caller says otherwise.
    pub(crate) fn chunks(&self, face: Face, id: String, model: Option<String>) -> Chunks {
        let clock = self.driver().clock();
        Chunks {
            face,
            flavour: self.config.version,
            clock,
            id,
            // SGLang echoes whatever name it is given.
            model: model.unwrap_or_else(|| self.config.model_name.clone()),
            created: clock.unix(clock.now()) as u64,
            usage: UsageWish::Never,
            choices: 1,
            sequence: 0,
        }
    }

    /// Puts a fault in force and sees to its end.
    pub(crate) fn set_fault(self: &Arc<Self>, fault: Fault) {
        self.clear_fault();
        self.slow_down(if fault.kind == FaultKind::Slow { fault.factor } else { 1.0 });
        match fault.kind {
            FaultKind::Refuse => self.listening.close(),
            FaultKind::Crash => self.listening.crash(),
            _ => {}
        }
        let duration = fault.duration();
        let generation = self.faults.set(fault);
        if let Some(duration) = duration {
            let server = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(duration).await;
                if let Some(server) = server.upgrade()
                    && server.faults.expire(generation).is_some()
                {
                    server.recover();
                }
            });
        }
    }

    /// Ends the fault in force.
    pub(crate) fn clear_fault(&self) {
        if self.faults.clear().is_some() {
            self.recover();
        }
    }

    fn slow_down(&self, factor: f64) {
        self.ranks.iter().for_each(|rank| rank.set_slowdown(factor));
    }

    fn recover(&self) {
        self.slow_down(1.0);
        self.listening.open();
    }
}

/// Answers one request, or says that the connection must end.
pub(crate) async fn serve(
    server: Arc<Server>,
    switch: Switch,
    request: Request<Incoming>,
) -> Result<Reply, Cut> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path != "/_fault" && !authorised(&server, path, &parts.headers) {
        return Ok(finish(json_reply(StatusCode::UNAUTHORIZED, &json!({"error": "Unauthorized"}))));
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
        Some(FaultKind::ResetBeforeFirstByte) => return cut(&switch, Fate::Reset),
        Some(FaultKind::Garbage) => return cut(&switch, Fate::Garbage),
        _ => {}
    }
    let meeting = Meeting::read(&body);
    let rank = rank_in(&parts.headers).or(meeting.rank());
    if let Some(rank) = rank.filter(|rank| *rank >= server.config.dp_size) {
        let message = format!("routed_dp_rank={rank} out of range [0, {})", server.config.dp_size);
        return Ok(finish(errors::bad_request(&message)));
    }
    let call = Call {
        switch: switch.clone(),
        forced: forced_length(&parts.headers),
        logprobs: meeting.return_logprob,
        part: meeting.part(&server),
        rank,
    };
    let known = route(&server, &parts, &body, call).await?;
    let reply = known.unwrap_or_else(|| unknown(&server, path));
    Ok(finish(match fault {
        Some(fault) if strikes_body(fault.kind) => break_body(reply, &fault, switch),
        _ => reply,
    }))
}

/// The answer of the route, or `None` where there is no such route.
async fn route(
    server: &Server,
    parts: &http::request::Parts,
    body: &[u8],
    call: Call,
) -> Result<Option<Reply>, Cut> {
    let (get, post) = (parts.method == Method::GET, parts.method == Method::POST);
    let put = parts.method == Method::PUT;
    let reply = match parts.uri.path() {
        "/generate" if post || put => generate::generate(server, body, call).await?,
        "/v1/chat/completions" if post => generate::chat(server, body, call).await?,
        "/v1/completions" if post => generate::completions(server, body, call).await?,
        "/v1/responses" if post => generate::responses(server, body, call).await?,
        "/v1/embeddings" if post => scoring::embeddings(server, body),
        "/rerank" | "/v1/rerank" if post || put => scoring::rerank(server, body),
        "/v1/classify" | "/classify" if post => scoring::classify(server, body),
        "/tokenize" | "/v1/tokenize" if post => scoring::tokenize(server, body),
        "/detokenize" | "/v1/detokenize" if post => scoring::detokenize(body),
        "/" if get => json_reply(StatusCode::OK, &"SGLang is running"),
        "/health" | "/ping" if get => errors::empty(StatusCode::OK),
        "/health_generate" if get => health_generate(server).await,
        "/metrics" if get => metrics::page(server),
        "/flush_cache" if get || post => flush_cache(server),
        "/abort_request" if post => abort_request(server, body),
        _ if get => return Ok(info::route(server, parts.uri.path(), parts.uri.query().unwrap_or(""))),
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// Routes that exist under another method, with the methods they take.
const OTHER_METHODS: &[(&str, &str)] = &[
    ("/generate", "PUT, POST"),
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/v1/responses", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/rerank", "PUT, POST"),
    ("/v1/classify", "POST"),
    ("/abort_request", "POST"),
    ("/health", "GET"),
    ("/v1/models", "GET"),
    ("/flush_cache", "GET, POST"),
];

fn unknown(server: &Server, path: &str) -> Reply {
    let Some((_, allow)) = OTHER_METHODS.iter().find(|(known, _)| *known == path) else {
        tracing::debug!(path, model = server.config.model_name, "no such route");
        return json_reply(StatusCode::NOT_FOUND, &json!({"detail": "Not Found"}));
    };
    let mut reply = json_reply(StatusCode::METHOD_NOT_ALLOWED, &json!({"detail": "Method Not Allowed"}));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply
}

fn finish(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
    reply
}

fn authorised(server: &Server, path: &str, headers: &HeaderMap) -> bool {
    let Some(key) = &server.config.api_key else { return true };
    if path.starts_with("/health") || path.starts_with("/metrics") {
        return true;
    }
    let given =
        headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    given == Some(key.as_str())
}

/// The data-parallel rank that the headers name; it goes before the body's.
fn rank_in(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-data-parallel-rank")?.to_str().ok()?.parse().ok()
}

fn forced_length(headers: &HeaderMap) -> Option<u32> {
    headers.get("x-emulate-output-tokens")?.to_str().ok()?.parse().ok()
}

/// Runs one token through the engine, as a real server does to see whether its scheduler lives.
async fn health_generate(server: &Server) -> Reply {
    let sampling = Sampling { ignore_eos: true, ..Sampling::default() };
    let ask: Ask =
        server.model.plan(Choice { rid: server.new_id(), index: 0 }, &Prompt::Ids(vec![0]), &sampling, 1);
    match server.driver().submit(&ask.rid, Rids::Shared, ask.job()) {
        Ok(run) => {
            run.finished().await;
            errors::empty(StatusCode::OK)
        }
        Err(_) => errors::empty(StatusCode::SERVICE_UNAVAILABLE),
    }
}

fn flush_cache(server: &Server) -> Reply {
    const FLUSHED: &str = "Cache flushed.\nPlease check backend logs for more details. (When there are running or \
                           waiting requests, the operation will not be performed.)\n";
    // Every rank is asked, whatever the others say.
    let flushed = server.ranks.iter().filter(|rank| !rank.flush_cache()).count() == 0;
    let status = if flushed { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let text = match (flushed, server.config.version) {
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

fn abort_request(server: &Server, body: &[u8]) -> Reply {
    let parsed: AbortBody = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(e) => return errors::Malformed::new(e, body.len(), "/abort_request").reply(),
    };
    match parsed {
        AbortBody { abort_all: true, .. } => server.ranks.iter().for_each(Driver::abort_all),
        AbortBody { rid: Some(rid), .. } => server.ranks.iter().for_each(|rank| rank.abort_rid(&rid)),
        AbortBody { .. } => {}
    }
    // A real server says 200 for an unknown id too.
    errors::empty(StatusCode::OK)
}

fn scope(path: &str) -> Scope {
    let inference =
        ["/generate", "/v1/chat", "/v1/completions", "/v1/responses", "/v1/embeddings", "/rerank"];
    let more = ["/v1/rerank", "/classify", "/v1/classify"];
    if inference.iter().chain(&more).any(|p| path.starts_with(p)) {
        Scope::Inference
    } else if path.starts_with("/health") {
        Scope::Health
    } else {
        Scope::Information
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

fn break_body(reply: Reply, fault: &Fault, switch: Switch) -> Reply {
    let mut reply = reply.map(|body| Body::Faulty(Box::new(FaultyBody::new(body, fault, switch))));
    if fault.kind == FaultKind::ChunkedTrailers {
        reply.headers_mut().insert(http::header::TRAILER, HeaderValue::from_static("x-emulator-trailer"));
    }
    reply
}

fn cut(switch: &Switch, fate: Fate) -> Result<Reply, Cut> {
    switch.set(fate);
    Err(Cut)
}

fn error_status(fault: Option<&Fault>) -> Reply {
    let code = fault.map_or(500, |f| f.status);
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    errors::openai(status, "InternalServerError", "fault on demand")
}

/// `GET`, `POST` and `DELETE /_fault`.
fn fault_route(server: &Arc<Server>, method: &Method, body: &[u8]) -> Reply {
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
                return errors::bad_request("refuse and crash need duration_secs, or nobody could end them");
            }
            server.set_fault(fault);
        }
        _ => return errors::empty(StatusCode::METHOD_NOT_ALLOWED),
    }
    json_reply(StatusCode::OK, &json!({"fault": server.faults.get()}))
}
