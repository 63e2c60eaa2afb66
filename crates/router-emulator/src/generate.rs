//! The routes that generate text: `/generate` and the OpenAI ones.

use http::StatusCode;
use http::header::CONTENT_TYPE;
use router_engine::SubmitError;

use crate::ask::{Ask, Choice, DEFAULT_MAX_NEW_TOKENS, Invalid, Prompt, Sampling};
use crate::chunks::{Chunks, Face, Track, Usage, response_message, response_status, response_usage};
use crate::config::SglangVersion;
use crate::driver::{NotTaken, Rids};
use crate::errors::{self, Malformed, QUEUE_FULL, json_reply, native, with_type};
use crate::faults::{Fault, FaultKind, FaultyBody, Switch};
use crate::legs::{bereft, hand_over, homeless, kept, prepare};
use crate::meeting::{Part, fetch_all};
use crate::meta::{Delivery, Facts, openai_finish, quoted};
use crate::outlet::{End, Run, Seen};
use crate::request::{
    ChatBody, CompletionsBody, GenerateBody, OneOrMany, OneOrManyIds, OpenAiCommon, ResponsesBody,
    SamplingBody, render,
};
use crate::server::Server;
use crate::stream::{Body, Cut, EventStream, Reply};

/// What a request carries besides its body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) switch: Switch,
    /// From the `x-emulate-output-tokens` header.
    pub(crate) forced: Option<u32>,
    /// Whether the client wants logprobs.
    pub(crate) logprobs: bool,
    /// What another server has to do with it.
    pub(crate) part: Part,
    /// The data-parallel rank that it names.
    pub(crate) rank: Option<u32>,
}

/// One generation with its place in the answer.
pub(crate) struct Started {
    pub(crate) ask: Ask,
    pub(crate) run: Run,
}

/// A generation the engine did not take.
struct Refusal {
    ask: Box<Ask>,
    why: NotTaken,
}

/// A request after its checks: the generations to start and how to answer.
pub(crate) struct Plan {
    pub(crate) asks: Vec<Ask>,
    pub(crate) form: Form,
}

/// How to answer.
pub(crate) struct Form {
    pub(crate) streamed: bool,
    pub(crate) chunks: Chunks,
}

/// `POST /generate`.
pub(crate) async fn generate(server: &Server, body: &[u8], call: Call) -> Result<Reply, Cut> {
    let parsed: GenerateBody = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Malformed::new(e, body.len(), "/generate").reply()),
    };
    let stream = parsed.stream;
    match plan_generate(server, parsed, &call) {
        Ok(plan) => answer(server, plan, call).await,
        Err(Unplannable::Sampling(message)) => {
            Ok(json_reply(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": message })))
        }
        Err(Unplannable::Invalid(Invalid(message))) if stream => Ok(native_stream_error(server, &message)),
        Err(Unplannable::Invalid(Invalid(message))) => Ok(native(&message)),
    }
}

enum Unplannable {
    Invalid(Invalid),
    Sampling(String),
}

impl From<Invalid> for Unplannable {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

fn plan_generate(server: &Server, body: GenerateBody, call: &Call) -> Result<Plan, Unplannable> {
    let (prompts, mut batch) = match (body.input_ids, body.text) {
        (Some(OneOrManyIds::One(ids)), _) => (vec![Prompt::Ids(ids)], false),
        (Some(OneOrManyIds::Many(lists)), _) => (lists.into_iter().map(Prompt::Ids).collect(), true),
        (None, Some(OneOrMany::One(text))) => (vec![Prompt::Text(text)], false),
        (None, Some(OneOrMany::Many(texts))) => (texts.into_iter().map(Prompt::Text).collect(), true),
        (None, None) => {
            return Err(Invalid("Either text, input_ids or input_embeds should be provided.".into()).into());
        }
    };
    let sampling = sampling_params(body.sampling_params.as_deref(), prompts.len())?;
    let choices = sampling.first().and_then(|s| s.choices).unwrap_or(1).max(1) as usize;
    batch |= choices > 1;
    let face = if batch { Face::GenerateBatch } else { Face::Generate };
    let rids = rids(server, body.rid, prompts.len() * choices, face)?;
    let mut asks = Vec::with_capacity(rids.len());
    let mut rids = rids.into_iter();
    for (i, prompt) in prompts.iter().enumerate() {
        let mut sampling = sampling.get(i).or(sampling.first()).cloned().unwrap_or_default();
        sampling.forced = call.forced.or(sampling.forced);
        let allowance = server.model().allowance(prompt, &sampling, Some(DEFAULT_MAX_NEW_TOKENS))?;
        for choice in 0..choices {
            let rid = rids.next().unwrap_or_else(|| server.new_id());
            asks.push(server.model().plan(
                Choice { rid, index: choice as u32 },
                prompt,
                &sampling,
                allowance,
            ));
        }
    }
    let chunks = Chunks { choices, ..server.chunks(face, String::new(), None) };
    Ok(Plan { asks, form: Form { streamed: body.stream, chunks } })
}

/// One set of parameters, or one per prompt.
fn sampling_params(
    raw: Option<&serde_json::value::RawValue>,
    prompts: usize,
) -> Result<Vec<Sampling>, Unplannable> {
    let Some(raw) = raw else { return Ok(vec![Sampling::default()]) };
    let text = raw.get();
    let parsed = if text.trim_start().starts_with('[') && prompts > 0 {
        serde_json::from_str::<Vec<SamplingBody>>(text)
    } else {
        serde_json::from_str::<SamplingBody>(text).map(|one| vec![one])
    };
    match parsed {
        Ok(bodies) => Ok(bodies.into_iter().map(Sampling::from).collect()),
        Err(e) => {
            // The real parser reports no position.
            let message = e.to_string();
            let end = message.find(" at line ").unwrap_or(message.len());
            Err(Unplannable::Sampling(message[..end].to_owned()))
        }
    }
}

/// One id per generation: the given ones, `one_0`, `one_1` for a batch with one string, or new ones.
fn rids(
    server: &Server,
    given: Option<OneOrMany<String>>,
    wanted: usize,
    face: Face,
) -> Result<Vec<String>, Unplannable> {
    match given {
        None => Ok((0..wanted).map(|_| server.new_id()).collect()),
        Some(OneOrMany::One(one)) if face == Face::Generate => Ok(vec![one]),
        Some(OneOrMany::One(one)) => Ok((0..wanted).map(|i| format!("{one}_{i}")).collect()),
        Some(OneOrMany::Many(many)) => {
            for (i, rid) in many.iter().enumerate() {
                if many[..i].contains(rid) && server.config().version == SglangVersion::Stock {
                    let message = format!("Duplicate request IDs detected within the request: ['{rid}']");
                    return Err(Invalid(message).into());
                }
            }
            Ok(many)
        }
    }
}

/// `POST /v1/chat/completions`.
pub(crate) async fn chat(server: &Server, body: &[u8], call: Call) -> Result<Reply, Cut> {
    let parsed: ChatBody = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Malformed::new(e, body.len(), "/v1/chat/completions").reply()),
    };
    if parsed.messages.is_empty() {
        return Ok(errors::bad_request("Messages cannot be empty."));
    }
    let prompts = [render(&parsed.messages)];
    openai(server, Face::Chat, &prompts, &parsed.common, call).await
}

/// `POST /v1/completions`.
pub(crate) async fn completions(server: &Server, body: &[u8], call: Call) -> Result<Reply, Cut> {
    let parsed: CompletionsBody = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Malformed::new(e, body.len(), "/v1/completions").reply()),
    };
    let mut common = parsed.common;
    common.default_max_tokens(16);
    openai(server, Face::Completions, &parsed.prompt.into_prompts(), &common, call).await
}

/// `POST /v1/responses`.
pub(crate) async fn responses(server: &Server, body: &[u8], call: Call) -> Result<Reply, Cut> {
    let parsed: ResponsesBody = match serde_json::from_slice(body) {
        Ok(parsed) => parsed,
        Err(e) => return Ok(Malformed::new(e, body.len(), "/v1/responses").reply()),
    };
    openai(server, Face::Responses, &[parsed.prompt()], &parsed.common, call).await
}

async fn openai(
    server: &Server,
    face: Face,
    prompts: &[Prompt],
    common: &OpenAiCommon,
    call: Call,
) -> Result<Reply, Cut> {
    let stream = common.stream.unwrap_or(false);
    match plan_openai(server, face, prompts, common, call.forced) {
        Ok(plan) => answer(server, plan, call).await,
        // 0.4 opens the stream before it looks at the request.
        Err(Invalid(message))
            if stream && server.config().version == SglangVersion::Classic && face == Face::Chat =>
        {
            Ok(openai_stream_error("BadRequestError", &message, StatusCode::BAD_REQUEST))
        }
        Err(Invalid(message)) => Ok(errors::bad_request(&message)),
    }
}

fn plan_openai(
    server: &Server,
    face: Face,
    prompts: &[Prompt],
    common: &OpenAiCommon,
    forced: Option<u32>,
) -> Result<Plan, Invalid> {
    let sampling = Sampling { forced, ..common.sampling() };
    let choices = if face == Face::Responses { 1 } else { sampling.choices.unwrap_or(1).max(1) as usize };
    let id = common.rid.clone().unwrap_or_else(|| server.new_id());
    let mut asks = Vec::with_capacity(prompts.len() * choices);
    for prompt in prompts {
        let allowance = server.model().allowance(prompt, &sampling, None)?;
        for choice in 0..choices {
            let rid = if asks.is_empty() { id.clone() } else { format!("{id}_{}", asks.len()) };
            asks.push(server.model().plan(
                Choice { rid, index: choice as u32 },
                prompt,
                &sampling,
                allowance,
            ));
        }
    }
    let chunks = Chunks { usage: common.usage(), choices, ..server.chunks(face, id, common.model.clone()) };
    Ok(Plan { asks, form: Form { streamed: common.stream.unwrap_or(false), chunks } })
}

/// Starts the generations and answers in the form asked for.
async fn answer(server: &Server, mut plan: Plan, call: Call) -> Result<Reply, Cut> {
    prepare(server, &mut plan, &call);
    match &call.part {
        Part::Missing => return Ok(homeless(&plan)),
        Part::Fetch(addresses) => {
            if fetch_all(addresses, server.config().bootstrap_timeout).await.is_err() {
                return Ok(bereft(&plan));
            }
        }
        Part::None | Part::HandOver(_) | Part::Keep(_) => {}
    }
    let started = match start(server, plan.asks) {
        Ok(started) => started,
        Err(refusal) => return Ok(refuse(server, &plan.form, &refusal, &call.switch)),
    };
    if let Part::HandOver(rooms) = &call.part {
        hand_over(server, rooms, &started).await;
    }
    let Form { streamed, chunks } = plan.form;
    if streamed {
        let tracks = started.into_iter().enumerate().map(|(i, s)| Track::new(i, s.ask, s.run)).collect();
        let mut reply = Reply::new(Body::Events(Box::new(EventStream::new(chunks, tracks))));
        reply.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
        return Ok(reply);
    }
    let mut done = Vec::with_capacity(started.len());
    for s in &started {
        let (seen, end) = s.run.finished().await;
        done.push(Done { ask: &s.ask, run: &s.run, seen, end });
    }
    let body = match chunks.face {
        Face::Generate | Face::GenerateBatch => whole_generate(server, chunks.face, &done),
        Face::Chat | Face::Completions => kept(server, &call.part, whole_openai(&chunks, &done)),
        Face::Responses => whole_response(&chunks, &done),
    };
    Ok(with_type(StatusCode::OK, "application/json", body.into()))
}

/// Hands every generation to the engine; on a refusal those before it are aborted again.
fn start(server: &Server, asks: Vec<Ask>) -> Result<Vec<Started>, Refusal> {
    let rids = if server.config().version == SglangVersion::Stock { Rids::Unique } else { Rids::Shared };
    let mut started = Vec::with_capacity(asks.len());
    for ask in asks {
        match server.rank(ask.rank).submit(&ask.rid, rids, ask.job()) {
            Ok(run) => started.push(Started { ask, run }),
            Err(why) => return Err(Refusal { ask: Box::new(ask), why }),
        }
    }
    Ok(started)
}

const EVENT_STREAM: http::HeaderValue = http::HeaderValue::from_static("text/event-stream; charset=utf-8");

fn refuse(server: &Server, form: &Form, refusal: &Refusal, switch: &Switch) -> Reply {
    let Form { streamed, chunks } = form;
    let native_face = matches!(chunks.face, Face::Generate | Face::GenerateBatch);
    let Refusal { ask, why } = refusal;
    let message = match why {
        NotTaken::Engine(SubmitError::QueueFull) if !streamed => return errors::queue_full(),
        // 0.4 has sent its headers by then and can only cut the connection.
        NotTaken::Engine(SubmitError::QueueFull) if server.config().version == SglangVersion::Classic => {
            let nothing = Body::Events(Box::new(EventStream::new(chunks.clone(), Vec::new())));
            let cut = Fault { after_events: 0, ..Fault::new(FaultKind::CloseEarly) };
            let body = FaultyBody::new(nothing, &cut, switch.clone());
            let mut reply = Reply::new(Body::Faulty(Box::new(body)));
            reply.headers_mut().insert(CONTENT_TYPE, EVENT_STREAM);
            return reply;
        }
        NotTaken::Engine(SubmitError::QueueFull) if native_face => {
            let now = server.driver().clock().now();
            let facts = Facts {
                ask,
                clock: server.driver().clock(),
                flavour: SglangVersion::Stock,
                submitted_at: now,
            };
            let event =
                format!("{{\"text\":\"\",\"output_ids\":[],\"meta_info\":{}}}", facts.queue_full(now));
            return one_event(&event);
        }
        NotTaken::Engine(SubmitError::QueueFull) => {
            return openai_stream_error("SERVICE_UNAVAILABLE", QUEUE_FULL, StatusCode::SERVICE_UNAVAILABLE);
        }
        NotTaken::Engine(SubmitError::ExceedsKv) => format!(
            "The request needs more than the {} tokens the KV cache holds.",
            server.driver().stats().load.capacity_tokens
        ),
        NotTaken::Duplicate => format!("Duplicate request ID detected: {}", ask.rid),
    };
    match (native_face, *streamed) {
        (true, true) => native_stream_error(server, &message),
        (true, false) => native(&message),
        (false, _) => errors::bad_request(&message),
    }
}

pub(crate) fn one_event(json: &str) -> Reply {
    let body = format!("data: {json}\n\ndata: [DONE]\n\n");
    with_type(StatusCode::OK, "text/event-stream; charset=utf-8", body.into())
}

/// An error inside a stream of `/generate` that was opened with 200.
fn native_stream_error(server: &Server, message: &str) -> Reply {
    let extra = match server.config().version {
        SglangVersion::Classic => "",
        SglangVersion::Stock => ",\"type\":\"invalid_request_error\",\"code\":400,\"retryable\":false",
    };
    one_event(&format!("{{\"error\":{{\"message\":{}{extra}}}}}", quoted(message)))
}

/// The same on an OpenAI route; the spaces are SGLang's.
pub(crate) fn openai_stream_error(kind: &str, message: &str, code: StatusCode) -> Reply {
    one_event(&format!(
        "{{\"error\": {{\"object\": \"error\", \"message\": {}, \"type\": \"{kind}\", \"param\": null, \"code\": {}}}}}",
        quoted(message),
        code.as_u16()
    ))
}

/// One finished generation of an answer that is not streamed.
struct Done<'a> {
    ask: &'a Ask,
    run: &'a Run,
    seen: Seen,
    end: End,
}

impl Done<'_> {
    fn text(&self) -> String {
        quoted(&self.ask.text(self.end.record().output_tokens))
    }
}

fn whole_generate(server: &Server, face: Face, done: &[Done<'_>]) -> String {
    let flavour = server.config().version;
    let items: Vec<String> = done
        .iter()
        .map(|d| {
            let facts = Facts {
                ask: d.ask,
                clock: server.driver().clock(),
                flavour,
                submitted_at: d.run.submitted_at(),
            };
            let meta = facts.last(&d.seen, &d.end, Delivery::Whole);
            let n = d.end.record().output_tokens;
            match flavour {
                SglangVersion::Classic => format!("{{\"text\":{},\"meta_info\":{meta}}}", d.text()),
                SglangVersion::Stock => {
                    let ids: Vec<u32> = (0..n).map(|i| crate::text::word_id(d.ask.seed, i)).collect();
                    let ids = serde_json::to_string(&ids).unwrap_or_default();
                    format!("{{\"text\":{},\"output_ids\":{ids},\"meta_info\":{meta}}}", d.text())
                }
            }
        })
        .collect();
    match face {
        Face::GenerateBatch => format!("[{}]", items.join(",")),
        _ => items.concat(),
    }
}

fn usage_of(choices: usize, done: &[Done<'_>]) -> Usage {
    let mut usage = Usage::default();
    for (i, d) in done.iter().enumerate() {
        if i % choices.max(1) == 0 && !matches!(d.end, End::Unscheduled(_)) {
            usage.prompt += d.ask.prompt_tokens;
            usage.cached += d.end.record().cached_tokens;
        }
        usage.completion += d.end.record().output_tokens;
    }
    usage
}

fn whole_openai(chunks: &Chunks, done: &[Done<'_>]) -> String {
    let choices: Vec<String> = done
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let (reason, matched) = openai_finish(d.ask, &d.end);
            let tail = format!("\"logprobs\":null,\"finish_reason\":{reason},\"matched_stop\":{matched}}}");
            match (chunks.face, chunks.flavour) {
                (Face::Completions, _) => format!("{{\"index\":{i},\"text\":{},{tail}", d.text()),
                (_, flavour) => {
                    let tools = if flavour == SglangVersion::Classic { ",\"tool_calls\":null" } else { "" };
                    format!(
                        "{{\"index\":{i},\"message\":{{\"role\":\"assistant\",\"content\":{},\
                         \"reasoning_content\":null{tools}}},{tail}",
                        d.text()
                    )
                }
            }
        })
        .collect();
    let object = if chunks.face == Face::Chat { "chat.completion" } else { "text_completion" };
    let longest = done.iter().map(|d| d.end.record().output_tokens).max().unwrap_or(0);
    let metadata = match chunks.flavour {
        SglangVersion::Classic => String::new(),
        SglangVersion::Stock => format!(
            ",\"metadata\":{{\"weight_version\":\"default\",\"weight_versions\":[{{\"version\":\"default\",\
             \"start\":0,\"end\":{longest}}}]}}"
        ),
    };
    format!(
        "{{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{},\"choices\":[{}],\"usage\":{}{metadata}}}",
        quoted(&chunks.id),
        chunks.created,
        quoted(&chunks.model),
        choices.join(","),
        usage_of(chunks.choices, done).json(chunks.flavour)
    )
}

fn whole_response(chunks: &Chunks, done: &[Done<'_>]) -> String {
    let Some(first) = done.first() else { return "{}".to_owned() };
    let message = response_message(&format!("msg_{}", chunks.id), &first.text());
    let (status, _) = response_status(first.ask, &first.end);
    chunks.response_object(status, &format!("[{message}]"), &response_usage(&usage_of(1, done)))
}
