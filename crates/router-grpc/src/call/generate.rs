//! SGLang's `/generate` as typed calls, one for each prompt.

use super::metadata::trace_headers;
use super::one_or_many::OneOrMany;
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

/// The body of `/generate`, as far as the calls have fields for it.
#[derive(Debug)]
pub(crate) struct Body {
    members: Members,
    sampling: Option<OneOrMany<SamplingParams>>,
}

#[derive(Debug, Deserialize)]
struct Members {
    text: Option<OneOrMany<String>>,
    input_ids: Option<OneOrMany<Vec<i32>>>,
    sampling_params: Option<OneOrMany<Value>>,
    #[serde(default)]
    stream: bool,
    return_logprob: Option<OneOrMany<bool>>,
    top_logprobs_num: Option<OneOrMany<i32>>,
    logprob_start_len: Option<OneOrMany<i32>>,
    return_text_in_logprobs: Option<bool>,
    rid: Option<OneOrMany<String>>,
    lora_path: Option<OneOrMany<Option<String>>>,
    routing_key: Option<String>,
    routed_dp_rank: Option<i32>,
    data_parallel_rank: Option<i32>,
    bootstrap_host: Option<OneOrMany<String>>,
    bootstrap_port: Option<OneOrMany<Option<i32>>>,
    bootstrap_room: Option<OneOrMany<i64>>,
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

impl Body {
    /// Reads the body of `/generate`.
    ///
    /// # Errors
    /// When it is not what `/generate` takes, or has a member that the calls have no field for.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Refusal> {
        let mut members: Members = super::read(body, "/generate")?;
        for (name, value) in &members.others {
            let says_nothing = value.is_null() || *value == Value::Bool(false);
            if !says_nothing && !WITHOUT_EFFECT.contains(&name.as_str()) {
                return Err(Refusal::Member(name.clone()));
            }
        }
        let sampling =
            members.sampling_params.take().map(|params| params.try_map(sampling::read)).transpose()?;
        Ok(Self { members, sampling })
    }
}

/// What a body asks for, with the headers of its request.
///
/// # Errors
/// When there is no prompt, or a list does not have as many entries as there are prompts.
pub(crate) fn calls(headers: &HeaderMap, body: &Body) -> Result<Generate, Refusal> {
    let Members { text, input_ids, stream: is_stream, .. } = &body.members;
    let (texts, ids, is_batch) = match (text, input_ids) {
        (Some(texts), _) => (texts.clone().into_list(), Vec::new(), texts.is_list()),
        (None, Some(ids)) => (Vec::new(), ids.clone().into_list(), ids.is_list()),
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
    let fields = (0..count).map(|index| Fields::of(body, headers, index, count, is_batch));
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
    Ok(Generate { prompts, is_stream: *is_stream, is_list, choices })
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
        let sampling = OneOrMany::of_prompt(body.sampling.as_ref(), "sampling_params", index, count)?;
        let body = &body.members;
        // SGLang tells the requests of a batch with one id apart in the same way.
        let rid = match &body.rid {
            Some(OneOrMany::One(rid)) if is_batch => Some(format!("{rid}_{index}")),
            rid => OneOrMany::of_prompt(rid.as_ref(), "rid", index, count)?,
        };
        let header = || headers.get(RANK_HEADER)?.to_str().ok()?.parse().ok();
        let host = OneOrMany::of_prompt(body.bootstrap_host.as_ref(), "bootstrap_host", index, count)?;
        let port =
            OneOrMany::of_prompt(body.bootstrap_port.as_ref(), "bootstrap_port", index, count)?.flatten();
        let room = OneOrMany::of_prompt(body.bootstrap_room.as_ref(), "bootstrap_room", index, count)?;
        Ok(Self {
            sampling: sampling.unwrap_or_default(),
            stream: body.stream,
            return_logprob: OneOrMany::of_prompt(
                body.return_logprob.as_ref(),
                "return_logprob",
                index,
                count,
            )?,
            top_logprobs_num: OneOrMany::of_prompt(
                body.top_logprobs_num.as_ref(),
                "top_logprobs_num",
                index,
                count,
            )?,
            logprob_start_len: OneOrMany::of_prompt(
                body.logprob_start_len.as_ref(),
                "logprob_start_len",
                index,
                count,
            )?,
            return_text_in_logprobs: body.return_text_in_logprobs,
            rid,
            lora_path: OneOrMany::of_prompt(body.lora_path.as_ref(), "lora_path", index, count)?.flatten(),
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
