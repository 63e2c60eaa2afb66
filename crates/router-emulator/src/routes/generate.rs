//! The routes that generate text: `/generate` and the OpenAI ones.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use router_engine::SubmitError;

use crate::api::body::{AbortedBody, EventStream, HttpResponse, ResponseBody};
use crate::api::errors::{self, json_response, native, one_event, openai_stream_error, parse, with_type};
use crate::api::faulty_body::FaultyBody;
use crate::api::formats::{ApiFormat, ChoiceStream, EventWriter};
use crate::api::generation::{
    ChoiceId, DEFAULT_MAX_NEW_TOKENS, Generation, InvalidRequest, Prompt, SamplingParams,
};
use crate::api::messages;
use crate::api::meta_info::{MetaInfo, QUEUE_FULL, quoted};
use crate::api::request::{
    ChatBody, CompletionsBody, GenerateBody, MessagesBody, OneOrMany, OneOrManyIds, OpenAiCommon,
    ResponsesBody, SamplingBody, render,
};
use crate::config::SglangVersion;
use crate::engine_task::driver::{RidPolicy, SubmitRefusal};
use crate::faults::{Fault, FaultKind, FaultSwitch};
use crate::routes::disaggregation::{
    hand_over, missing_bootstrap_room, prepare, transfer_failed, with_kv_transfer_params,
};
use crate::routes::disaggregation_params::{KvTransfer, fetch_all};
use crate::routes::plan::{GenerationPlan, RequestContext, ResponseForm, StartedGeneration};
use crate::routes::whole::{FinishedGeneration, whole_generate, whole_message, whole_openai, whole_response};
use crate::state::ServerState;

/// A generation that the engine refused.
struct RefusedGeneration {
    generation: Box<Generation>,
    why: SubmitRefusal,
}

/// `POST /generate`.
pub(crate) async fn generate(
    server: &ServerState,
    body: &[u8],
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let parsed: GenerateBody = match parse(body, "/generate") {
        Ok(parsed) => parsed,
        Err(malformed) => return Ok(malformed.response()),
    };
    let stream = parsed.stream;
    match plan_generate(server, parsed, &context) {
        Ok(plan) => respond(server, plan, context).await,
        Err(PlanError::Sampling(message)) => {
            Ok(json_response(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": message })))
        }
        Err(PlanError::Invalid(InvalidRequest(message))) if stream => {
            Ok(native_stream_error(server, &message))
        }
        Err(PlanError::Invalid(InvalidRequest(message))) => Ok(native(&message)),
    }
}

enum PlanError {
    Invalid(InvalidRequest),
    Sampling(String),
}

impl From<InvalidRequest> for PlanError {
    fn from(invalid: InvalidRequest) -> Self {
        Self::Invalid(invalid)
    }
}

fn plan_generate(
    server: &ServerState,
    body: GenerateBody,
    context: &RequestContext,
) -> Result<GenerationPlan, PlanError> {
    let (prompts, mut batch) = match (body.input_ids, body.text) {
        (Some(OneOrManyIds::One(ids)), _) => (vec![Prompt::Ids(ids)], false),
        (Some(OneOrManyIds::Many(lists)), _) => (lists.into_iter().map(Prompt::Ids).collect(), true),
        (None, Some(OneOrMany::One(text))) => (vec![Prompt::Text(text)], false),
        (None, Some(OneOrMany::Many(texts))) => (texts.into_iter().map(Prompt::Text).collect(), true),
        (None, None) => {
            return Err(
                InvalidRequest("Either text, input_ids or input_embeds should be provided.".into()).into()
            );
        }
    };
    let sampling = sampling_params(body.sampling_params.as_deref(), prompts.len())?;
    let choices = sampling.first().and_then(|s| s.choices).unwrap_or(1).max(1) as usize;
    batch |= choices > 1;
    let api_format = if batch { ApiFormat::GenerateBatch } else { ApiFormat::Generate };
    let rids = rids(server, body.rid, prompts.len() * choices, api_format)?;
    let mut generations = Vec::with_capacity(rids.len());
    let mut rids = rids.into_iter();
    for (i, prompt) in prompts.iter().enumerate() {
        let mut sampling = sampling.get(i).or(sampling.first()).cloned().unwrap_or_default();
        sampling.forced = context.forced.or(sampling.forced);
        let allowance = server.model().allowance(prompt, &sampling, Some(DEFAULT_MAX_NEW_TOKENS))?;
        for choice in 0..choices {
            let rid = rids.next().unwrap_or_else(|| server.new_id());
            generations.push(server.model().plan(
                ChoiceId { rid, index: choice as u32 },
                prompt,
                &sampling,
                allowance,
            ));
        }
    }
    let writer = EventWriter { choices, ..server.event_writer(api_format, String::new(), None) };
    Ok(GenerationPlan { generations, form: ResponseForm { streamed: body.stream, writer } })
}

/// One set of parameters, or one per prompt.
fn sampling_params(
    raw: Option<&serde_json::value::RawValue>,
    prompts: usize,
) -> Result<Vec<SamplingParams>, PlanError> {
    let Some(raw) = raw else { return Ok(vec![SamplingParams::default()]) };
    let text = raw.get();
    let parsed = if text.trim_start().starts_with('[') && prompts > 0 {
        serde_json::from_str::<Vec<SamplingBody>>(text)
    } else {
        serde_json::from_str::<SamplingBody>(text).map(|one| vec![one])
    };
    match parsed {
        Ok(bodies) => Ok(bodies.into_iter().map(SamplingParams::from).collect()),
        Err(e) => {
            // SGLang's parser reports no position.
            let message = e.to_string();
            let end = message.find(" at line ").unwrap_or(message.len());
            Err(PlanError::Sampling(message[..end].to_owned()))
        }
    }
}

/// One id per generation: the given ones, `one_0`, `one_1` for a batch with one string, or new ones.
fn rids(
    server: &ServerState,
    given: Option<OneOrMany<String>>,
    wanted: usize,
    api_format: ApiFormat,
) -> Result<Vec<String>, PlanError> {
    match given {
        None => Ok((0..wanted).map(|_| server.new_id()).collect()),
        Some(OneOrMany::One(one)) if api_format == ApiFormat::Generate => Ok(vec![one]),
        Some(OneOrMany::One(one)) => Ok((0..wanted).map(|i| format!("{one}_{i}")).collect()),
        Some(OneOrMany::Many(many)) => {
            for (i, rid) in many.iter().enumerate() {
                if many[..i].contains(rid) && server.config().version == SglangVersion::Stock {
                    let message = format!("Duplicate request IDs detected within the request: ['{rid}']");
                    return Err(InvalidRequest(message).into());
                }
            }
            Ok(many)
        }
    }
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(
    server: &ServerState,
    body: &[u8],
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let parsed: ChatBody = match parse(body, "/v1/chat/completions") {
        Ok(parsed) => parsed,
        Err(malformed) => return Ok(malformed.response()),
    };
    if parsed.messages.is_empty() {
        return Ok(errors::bad_request("Messages cannot be empty."));
    }
    let prompts = [render(&parsed.messages)];
    openai(server, ApiFormat::Chat, &prompts, &parsed.common, context).await
}

/// `POST /v1/completions`.
pub(crate) async fn completions(
    server: &ServerState,
    body: &[u8],
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let parsed: CompletionsBody = match parse(body, "/v1/completions") {
        Ok(parsed) => parsed,
        Err(malformed) => return Ok(malformed.response()),
    };
    let mut common = parsed.common;
    common.default_max_tokens(16);
    openai(server, ApiFormat::Completions, &parsed.prompt.into_prompts(), &common, context).await
}

/// `POST /v1/responses`.
pub(crate) async fn responses(
    server: &ServerState,
    body: &[u8],
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let parsed: ResponsesBody = match parse(body, "/v1/responses") {
        Ok(parsed) => parsed,
        Err(malformed) => return Ok(malformed.response()),
    };
    openai(server, ApiFormat::Responses, &[parsed.prompt()], &parsed.common, context).await
}

/// `POST /v1/messages`, which SGLang serves as a chat.
pub(crate) async fn anthropic_messages(
    server: &ServerState,
    body: &[u8],
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let invalid = |message: &str| messages::error(StatusCode::BAD_REQUEST, "invalid_request_error", message);
    let parsed: MessagesBody = match parse(body, "/v1/messages") {
        Ok(parsed) => parsed,
        Err(malformed) => return Ok(invalid(&malformed.summary())),
    };
    if parsed.common.sampling().max_new_tokens.is_none() {
        return Ok(invalid("max_tokens: Field required"));
    }
    openai(server, ApiFormat::Messages, &[parsed.prompt()], &parsed.common, context).await
}

async fn openai(
    server: &ServerState,
    api_format: ApiFormat,
    prompts: &[Prompt],
    common: &OpenAiCommon,
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    let stream = common.stream.unwrap_or(false);
    match plan_openai(server, api_format, prompts, common, context.forced) {
        Ok(plan) => respond(server, plan, context).await,
        // 0.4 opens the stream before it looks at the request.
        Err(InvalidRequest(message))
            if stream
                && server.config().version == SglangVersion::Classic
                && api_format == ApiFormat::Chat =>
        {
            Ok(openai_stream_error("BadRequestError", &message, StatusCode::BAD_REQUEST))
        }
        Err(InvalidRequest(message)) if api_format == ApiFormat::Messages && stream => {
            let writer = server.event_writer(api_format, server.new_id(), common.model.clone());
            Ok(messages::stream_error(&writer, "invalid_request_error", &message))
        }
        Err(InvalidRequest(message)) if api_format == ApiFormat::Messages => {
            Ok(messages::error(StatusCode::BAD_REQUEST, "BadRequestError", &message))
        }
        Err(InvalidRequest(message)) => Ok(errors::bad_request(&message)),
    }
}

fn plan_openai(
    server: &ServerState,
    api_format: ApiFormat,
    prompts: &[Prompt],
    common: &OpenAiCommon,
    forced: Option<u32>,
) -> Result<GenerationPlan, InvalidRequest> {
    let sampling = SamplingParams { forced, ..common.sampling() };
    let choices = match api_format {
        ApiFormat::Responses | ApiFormat::Messages => 1,
        _ => sampling.choices.unwrap_or(1).max(1) as usize,
    };
    let id = common.rid.clone().unwrap_or_else(|| server.new_id());
    let mut generations = Vec::with_capacity(prompts.len() * choices);
    for prompt in prompts {
        let allowance = server.model().allowance(prompt, &sampling, None)?;
        for choice in 0..choices {
            let rid = if generations.is_empty() { id.clone() } else { format!("{id}_{}", generations.len()) };
            generations.push(server.model().plan(
                ChoiceId { rid, index: choice as u32 },
                prompt,
                &sampling,
                allowance,
            ));
        }
    }
    let writer = EventWriter {
        usage: common.usage(),
        choices,
        ..server.event_writer(api_format, id, common.model.clone())
    };
    Ok(GenerationPlan {
        generations,
        form: ResponseForm { streamed: common.stream.unwrap_or(false), writer },
    })
}

/// Starts the generations and responds in the requested form.
async fn respond(
    server: &ServerState,
    mut plan: GenerationPlan,
    context: RequestContext,
) -> Result<HttpResponse, AbortedBody> {
    prepare(server, &mut plan, &context);
    match &context.kv_transfer {
        KvTransfer::Missing => return Ok(missing_bootstrap_room(&plan)),
        KvTransfer::Fetch(addresses) => {
            if fetch_all(addresses, server.config().bootstrap_timeout).await.is_err() {
                return Ok(transfer_failed(&plan));
            }
        }
        KvTransfer::None | KvTransfer::Offer(_) | KvTransfer::Keep(_) => {}
    }
    let started = match start(server, plan.generations) {
        Ok(started) => started,
        Err(refusal) => return Ok(refuse(server, &plan.form, &refusal, &context.switch)),
    };
    if let KvTransfer::Offer(rooms) = &context.kv_transfer {
        hand_over(server, rooms, &started).await;
    }
    let ResponseForm { streamed, writer } = plan.form;
    if streamed {
        let streams = started
            .into_iter()
            .enumerate()
            .map(|(i, s)| ChoiceStream::new(i, s.generation, s.handle))
            .collect();
        let mut response =
            HttpResponse::new(ResponseBody::Events(Box::new(EventStream::new(writer, streams))));
        response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
        return Ok(response);
    }
    let mut done = Vec::with_capacity(started.len());
    for s in &started {
        let (progress, end) = s.handle.finished().await;
        done.push(FinishedGeneration { generation: &s.generation, handle: &s.handle, progress, end });
    }
    let body = match writer.api_format {
        ApiFormat::Generate | ApiFormat::GenerateBatch => whole_generate(server, writer.api_format, &done),
        ApiFormat::Chat | ApiFormat::Completions => {
            with_kv_transfer_params(server, &context.kv_transfer, whole_openai(&writer, &done))
        }
        ApiFormat::Responses => whole_response(&writer, &done),
        ApiFormat::Messages => whole_message(&writer, &done),
    };
    Ok(with_type(StatusCode::OK, "application/json", body.into()))
}

/// Hands every generation to the engine; on a refusal those before it are aborted again.
fn start(
    server: &ServerState,
    generations: Vec<Generation>,
) -> Result<Vec<StartedGeneration>, RefusedGeneration> {
    let rids =
        if server.config().version == SglangVersion::Stock { RidPolicy::Unique } else { RidPolicy::Shared };
    let mut started = Vec::with_capacity(generations.len());
    for generation in generations {
        match server.rank(generation.rank).submit(&generation.rid, rids, generation.job()) {
            Ok(handle) => started.push(StartedGeneration { generation, handle }),
            Err(why) => return Err(RefusedGeneration { generation: Box::new(generation), why }),
        }
    }
    Ok(started)
}

const EVENT_STREAM: http::HeaderValue = http::HeaderValue::from_static("text/event-stream; charset=utf-8");

fn refuse(
    server: &ServerState,
    form: &ResponseForm,
    refusal: &RefusedGeneration,
    switch: &FaultSwitch,
) -> HttpResponse {
    let ResponseForm { streamed, writer } = form;
    let native_format = matches!(writer.api_format, ApiFormat::Generate | ApiFormat::GenerateBatch);
    let RefusedGeneration { generation, why } = refusal;
    let message = match why {
        SubmitRefusal::Engine(SubmitError::QueueFull) if writer.api_format == ApiFormat::Messages => {
            return if *streamed {
                messages::stream_error(writer, "overloaded_error", QUEUE_FULL)
            } else {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                messages::error(status, "overloaded_error", "Internal server error")
            };
        }
        SubmitRefusal::Engine(SubmitError::QueueFull) if !streamed => return errors::queue_full(),
        // 0.4 has sent its headers by then and can only cut the connection.
        SubmitRefusal::Engine(SubmitError::QueueFull)
            if server.config().version == SglangVersion::Classic =>
        {
            let nothing = ResponseBody::Events(Box::new(EventStream::new(writer.clone(), Vec::new())));
            let cut = Fault { after_events: 0, ..Fault::new(FaultKind::CloseEarly) };
            let body = FaultyBody::new(nothing, &cut, switch.clone());
            let mut response = HttpResponse::new(ResponseBody::Faulty(Box::new(body)));
            response.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
            return response;
        }
        SubmitRefusal::Engine(SubmitError::QueueFull) if native_format => {
            let now = server.driver().clock().now();
            let weight_version = server.control.quoted_weight_version();
            let facts = MetaInfo {
                generation,
                clock: server.driver().clock(),
                version: SglangVersion::Stock,
                weight_version: &weight_version,
                submitted_at: now,
            };
            let event =
                format!("{{\"text\":\"\",\"output_ids\":[],\"meta_info\":{}}}", facts.queue_full(now));
            return one_event(&event);
        }
        SubmitRefusal::Engine(SubmitError::QueueFull) => {
            return openai_stream_error("SERVICE_UNAVAILABLE", QUEUE_FULL, StatusCode::SERVICE_UNAVAILABLE);
        }
        SubmitRefusal::Engine(SubmitError::ExceedsKv) => format!(
            "The request needs more than the {} tokens the KV cache holds.",
            server.driver().stats().load.capacity_tokens
        ),
        SubmitRefusal::Duplicate => format!("Duplicate request ID detected: {}", generation.rid),
    };
    match (native_format, *streamed) {
        (true, true) => native_stream_error(server, &message),
        (true, false) => native(&message),
        (false, _) => errors::bad_request(&message),
    }
}

/// An error inside a stream of `/generate` that was opened with 200.
fn native_stream_error(server: &ServerState, message: &str) -> HttpResponse {
    let extra = match server.config().version {
        SglangVersion::Classic => "",
        SglangVersion::Stock => ",\"type\":\"invalid_request_error\",\"code\":400,\"retryable\":false",
    };
    one_event(&format!("{{\"error\":{{\"message\":{}{extra}}}}}", quoted(message)))
}
