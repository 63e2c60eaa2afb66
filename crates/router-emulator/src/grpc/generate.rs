//! `TextGenerate` and `Generate`: typed requests to `/generate`.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use router_grpc::messages::{
    DisaggregatedParams, GenerateRequest, GenerateResponse, MetaInfoEntry, SamplingParams,
    TextGenerateRequest, TextGenerateResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tonic::{Response, Status};

use super::call::{Call, Messages, collect, cut_short, error_message, failure, is_streamed, to_json};
use super::events::{Event, Events};

/// The body of `/generate`.
#[derive(Debug, Default, Serialize)]
struct GenerateJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_ids: Option<&'a [i32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling_params: Option<SamplingJson<'a>>,
    stream: bool,
    return_logprob: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs_num: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprob_start_len: Option<i32>,
    return_text_in_logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lora_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routing_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    routed_dp_rank: Option<i32>,
    #[serde(flatten)]
    disaggregation: Option<DisaggregationJson<'a>>,
}

#[derive(Debug, Serialize)]
struct DisaggregationJson<'a> {
    bootstrap_host: &'a str,
    bootstrap_port: i32,
    bootstrap_room: i64,
}

#[derive(Debug, Serialize)]
struct SamplingJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_new_tokens: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_new_tokens: Option<i32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    stop_token_ids: &'a [i32],
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    regex: Option<&'a str>,
}

impl<'a> From<&'a SamplingParams> for SamplingJson<'a> {
    fn from(params: &'a SamplingParams) -> Self {
        Self {
            temperature: params.temperature,
            top_p: params.top_p,
            top_k: params.top_k,
            min_p: params.min_p,
            frequency_penalty: params.frequency_penalty,
            presence_penalty: params.presence_penalty,
            repetition_penalty: params.repetition_penalty,
            max_new_tokens: params.max_new_tokens,
            min_new_tokens: params.min_new_tokens,
            stop: &params.stop,
            stop_token_ids: &params.stop_token_ids,
            ignore_eos: params.ignore_eos,
            n: params.n,
            json_schema: params.json_schema.as_deref(),
            regex: params.regex.as_deref(),
        }
    }
}

impl<'a> From<&'a DisaggregatedParams> for DisaggregationJson<'a> {
    fn from(params: &'a DisaggregatedParams) -> Self {
        Self {
            bootstrap_host: &params.bootstrap_host,
            bootstrap_port: params.bootstrap_port,
            bootstrap_room: params.bootstrap_room,
        }
    }
}

/// `TextGenerate`.
pub(super) async fn from_text(
    call: Call,
    request: TextGenerateRequest,
) -> Result<Response<Messages<TextGenerateResponse>>, Status> {
    let body = GenerateJson {
        text: Some(&request.text),
        input_ids: None,
        sampling_params: request.sampling_params.as_ref().map(SamplingJson::from),
        stream: request.stream(),
        return_logprob: request.return_logprob(),
        top_logprobs_num: request.top_logprobs_num,
        logprob_start_len: request.logprob_start_len,
        return_text_in_logprobs: request.return_text_in_logprobs(),
        rid: request.rid.as_deref(),
        lora_path: request.lora_path.as_deref(),
        routing_key: request.routing_key.as_deref(),
        routed_dp_rank: request.routed_dp_rank,
        disaggregation: request.disaggregated_params.as_ref().map(DisaggregationJson::from),
    };
    let message = |answer: Answer, finished| TextGenerateResponse {
        text: answer.text,
        meta_info: entries(answer.meta_info),
        finished,
    };
    answers(call, &body, message).await
}

/// `Generate`.
pub(super) async fn from_ids(
    call: Call,
    request: GenerateRequest,
) -> Result<Response<Messages<GenerateResponse>>, Status> {
    let body = GenerateJson {
        text: None,
        input_ids: Some(&request.input_ids),
        sampling_params: request.sampling_params.as_ref().map(SamplingJson::from),
        stream: request.stream(),
        return_logprob: request.return_logprob(),
        top_logprobs_num: request.top_logprobs_num,
        logprob_start_len: request.logprob_start_len,
        return_text_in_logprobs: false,
        rid: request.rid.as_deref(),
        lora_path: request.lora_path.as_deref(),
        routing_key: request.routing_key.as_deref(),
        routed_dp_rank: request.routed_dp_rank,
        disaggregation: request.disaggregated_params.as_ref().map(DisaggregationJson::from),
    };
    let message = |answer: Answer, finished| GenerateResponse {
        output_ids: answer.output_ids,
        meta_info: entries(answer.meta_info),
        finished,
    };
    answers(call, &body, message).await
}

/// One event or whole answer of `/generate`.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    text: String,
    #[serde(default)]
    output_ids: Vec<i32>,
    meta_info: BTreeMap<String, Box<RawValue>>,
}

impl Answer {
    /// Whether it is the last one of its choice.
    fn is_last(&self) -> bool {
        self.meta_info.get("finish_reason").is_some_and(|reason| reason.get() != "null")
    }
}

fn entries(meta_info: BTreeMap<String, Box<RawValue>>) -> Vec<MetaInfoEntry> {
    let entry = |(key, value): (String, Box<RawValue>)| {
        let value: Box<str> = value.into();
        MetaInfoEntry { key, value: String::from(value).into() }
    };
    meta_info.into_iter().map(entry).collect()
}

/// The messages of the answer; `message` makes one of an answer and of whether it is the call's last.
async fn answers<T: Send + 'static>(
    call: Call,
    body: &GenerateJson<'_>,
    message: fn(Answer, bool) -> T,
) -> Result<Response<Messages<T>>, Status> {
    let choices = body.sampling_params.as_ref().and_then(|params| params.n).unwrap_or(1).max(1);
    let response = call.request(Method::POST, "/generate", to_json(body)).await;
    let status = response.status();
    if is_streamed(&response) {
        return Ok(Response::new(streamed(Events::new(response.into_body()), choices, message)));
    }
    let json = collect(response.into_body()).await;
    if !status.is_success() {
        return Err(failure(status, &json));
    }
    let all = whole(&json);
    let count = all.len();
    let messages: Vec<_> =
        all.into_iter().zip(1..).map(|(answer, place)| Ok(message(answer, place == count))).collect();
    Ok(Response::new(stream::iter(messages).boxed()))
}

/// One answer for each choice; none where a fault ended the body early.
fn whole(json: &Bytes) -> Vec<Answer> {
    if json.starts_with(b"[") {
        serde_json::from_slice(json).unwrap_or_default()
    } else {
        serde_json::from_slice(json).into_iter().collect()
    }
}

/// One message for each event. The end of the last of `choices` is the end of the call.
fn streamed<T: Send + 'static>(events: Events, choices: i32, message: fn(Answer, bool) -> T) -> Messages<T> {
    stream::unfold(Some((events, choices)), move |state| async move {
        let (mut events, choices) = state?;
        let Event::Json(json) = events.next().await? else { return None };
        let Ok(answer) = serde_json::from_slice::<Answer>(&json) else {
            let status = error_message(&json).map_or_else(cut_short, Status::internal);
            return Some((Err(status), None));
        };
        let left = choices - i32::from(answer.is_last());
        Some((Ok(message(answer, left == 0)), (left > 0).then_some((events, left))))
    })
    .boxed()
}
