//! SGLang's `/generate` as typed calls, one for each prompt.

use super::metadata::trace_headers;
use super::refusal::Refusal;
use super::sampling;
use crate::messages::{DisaggregatedParams, GenerateRequest, SamplingParams, TextGenerateRequest};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The header that names a data-parallel rank.
const RANK_HEADER: &str = "x-data-parallel-rank";

/// Members without a field that have no effect on the answer.
const WITHOUT_EFFECT: [&str; 1] = ["model"];

/// A value for all prompts, or one for each.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Each<T> {
    Own(Vec<T>),
    All(T),
}

/// One or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

/// One or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenIds {
    One(Vec<i32>),
    Many(Vec<Vec<i32>>),
}

/// The body of `/generate`, as far as the calls have fields for it.
#[derive(Deserialize)]
struct Body {
    text: Option<Texts>,
    input_ids: Option<TokenIds>,
    sampling_params: Option<Each<Value>>,
    #[serde(default)]
    stream: bool,
    return_logprob: Option<Each<bool>>,
    top_logprobs_num: Option<Each<i32>>,
    logprob_start_len: Option<Each<i32>>,
    return_text_in_logprobs: Option<bool>,
    rid: Option<Each<String>>,
    lora_path: Option<Each<Option<String>>>,
    routing_key: Option<String>,
    routed_dp_rank: Option<i32>,
    data_parallel_rank: Option<i32>,
    bootstrap_host: Option<Each<String>>,
    bootstrap_port: Option<Each<Option<i32>>>,
    bootstrap_room: Option<Each<i64>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// The prompts of a body.
pub(crate) enum Prompts {
    Texts(Vec<TextGenerateRequest>),
    TokenIds(Vec<GenerateRequest>),
}

/// What a body of `/generate` asks for.
pub(crate) struct Generate {
    pub(crate) prompts: Prompts,
    pub(crate) is_stream: bool,
    /// Whether the answer is a list: there are several prompts, or several answers to each.
    pub(crate) is_list: bool,
    /// How many answers each prompt has.
    pub(crate) choices: Vec<usize>,
}

impl<T: Clone> Each<T> {
    /// The value for the prompt at `index` of `count`.
    fn of(this: Option<&Self>, index: usize, count: usize, name: &str) -> Result<Option<T>, Refusal> {
        match this {
            None => Ok(None),
            Some(Self::All(value)) => Ok(Some(value.clone())),
            Some(Self::Own(values)) if values.len() == count => Ok(values.get(index).cloned()),
            Some(Self::Own(values)) => {
                Err(Refusal::Malformed(format!("{name} has {} entries for {count} prompts", values.len())))
            }
        }
    }
}

/// Reads the body of `/generate`.
///
/// # Errors
/// When it is not what `/generate` takes, or has a member that the calls have no field for.
pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Generate, Refusal> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| Refusal::Malformed(format!("the body of /generate cannot be read: {error}")))?;
    for (name, value) in &body.others {
        let says_nothing = value.is_null() || *value == Value::Bool(false);
        if !says_nothing && !WITHOUT_EFFECT.contains(&name.as_str()) {
            return Err(Refusal::Member(name.clone()));
        }
    }
    let (texts, ids, is_batch) = match (&body.text, &body.input_ids) {
        (Some(Texts::One(text)), _) => (vec![text.clone()], Vec::new(), false),
        (Some(Texts::Many(texts)), _) => (texts.clone(), Vec::new(), true),
        (None, Some(TokenIds::One(ids))) => (Vec::new(), vec![ids.clone()], false),
        (None, Some(TokenIds::Many(ids))) => (Vec::new(), ids.clone(), true),
        (None, None) => {
            let message = "Either text or input_ids should be provided.";
            return Err(Refusal::Malformed(message.to_owned()));
        }
    };
    if texts.iter().any(String::is_empty)
        || ids.iter().any(Vec::is_empty)
        || (texts.is_empty() && ids.is_empty())
    {
        // SGLang 0.5.23 ends when it is asked over gRPC to go on from nothing.
        return Err(Refusal::Malformed("the prompt is empty".to_owned()));
    }
    let count = texts.len().max(ids.len());
    let fields = (0..count).map(|index| Fields::of(&body, headers, index, count, is_batch));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let choices =
        fields.iter().map(|fields| fields.sampling.n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1));
    let choices: Vec<_> = choices.collect();
    let is_list = is_batch || choices.iter().any(|n| *n > 1);
    let prompts = if ids.is_empty() {
        Prompts::Texts(texts.into_iter().zip(fields).map(|(text, fields)| fields.for_text(text)).collect())
    } else {
        Prompts::TokenIds(ids.into_iter().zip(fields).map(|(ids, fields)| fields.for_ids(ids)).collect())
    };
    Ok(Generate { prompts, is_stream: body.stream, is_list, choices })
}

/// The fields that both calls have.
struct Fields {
    sampling: SamplingParams,
    stream: bool,
    return_logprob: Option<bool>,
    top_logprobs_num: Option<i32>,
    logprob_start_len: Option<i32>,
    return_text_in_logprobs: Option<bool>,
    rid: Option<String>,
    lora_path: Option<String>,
    routing_key: Option<String>,
    rank: Option<i32>,
    trace_headers: std::collections::HashMap<String, String>,
    disaggregation: Option<DisaggregatedParams>,
}

impl Fields {
    fn of(
        body: &Body,
        headers: &HeaderMap,
        index: usize,
        count: usize,
        is_batch: bool,
    ) -> Result<Self, Refusal> {
        let sampling = Each::of(body.sampling_params.as_ref(), index, count, "sampling_params")?;
        let sampling = sampling.filter(|value| !value.is_null()).map(sampling::read).transpose()?;
        // SGLang tells the requests of a batch with one id apart in the same way.
        let rid = match &body.rid {
            Some(Each::All(rid)) if is_batch => Some(format!("{rid}_{index}")),
            rid => Each::of(rid.as_ref(), index, count, "rid")?,
        };
        let header = || headers.get(RANK_HEADER)?.to_str().ok()?.parse().ok();
        let host = Each::of(body.bootstrap_host.as_ref(), index, count, "bootstrap_host")?;
        let port = Each::of(body.bootstrap_port.as_ref(), index, count, "bootstrap_port")?.flatten();
        let room = Each::of(body.bootstrap_room.as_ref(), index, count, "bootstrap_room")?;
        Ok(Self {
            sampling: sampling.unwrap_or_default(),
            stream: body.stream,
            return_logprob: Each::of(body.return_logprob.as_ref(), index, count, "return_logprob")?,
            top_logprobs_num: Each::of(body.top_logprobs_num.as_ref(), index, count, "top_logprobs_num")?,
            logprob_start_len: Each::of(body.logprob_start_len.as_ref(), index, count, "logprob_start_len")?,
            return_text_in_logprobs: body.return_text_in_logprobs,
            rid,
            lora_path: Each::of(body.lora_path.as_ref(), index, count, "lora_path")?.flatten(),
            routing_key: body.routing_key.clone(),
            rank: body.routed_dp_rank.or(body.data_parallel_rank).or_else(header),
            trace_headers: trace_headers(headers),
            disaggregation: host.map(|bootstrap_host| DisaggregatedParams {
                bootstrap_host,
                bootstrap_port: port.unwrap_or_default(),
                bootstrap_room: room.unwrap_or_default(),
            }),
        })
    }

    fn for_text(self, text: String) -> TextGenerateRequest {
        TextGenerateRequest {
            text,
            sampling_params: Some(self.sampling),
            stream: Some(self.stream),
            return_logprob: self.return_logprob,
            top_logprobs_num: self.top_logprobs_num,
            logprob_start_len: self.logprob_start_len,
            return_text_in_logprobs: self.return_text_in_logprobs,
            rid: self.rid,
            lora_path: self.lora_path,
            routing_key: self.routing_key,
            routed_dp_rank: self.rank,
            trace_headers: self.trace_headers,
            disaggregated_params: self.disaggregation,
        }
    }

    fn for_ids(self, input_ids: Vec<i32>) -> GenerateRequest {
        GenerateRequest {
            input_ids,
            sampling_params: Some(self.sampling),
            stream: Some(self.stream),
            return_logprob: self.return_logprob,
            top_logprobs_num: self.top_logprobs_num,
            logprob_start_len: self.logprob_start_len,
            rid: self.rid,
            lora_path: self.lora_path,
            routing_key: self.routing_key,
            routed_dp_rank: self.rank,
            trace_headers: self.trace_headers,
            disaggregated_params: self.disaggregation,
        }
    }
}
