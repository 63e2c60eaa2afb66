//! The messages of `sglang.runtime.v1`, as SGLang 0.5.23 sends them.
//!
//! Each type has the name of its call. Fields that we do not know are skipped, as the wire format allows; absent ones are `None`
//! or empty. A `bytes` field is a slice of what was received, so that a chunk of JSON is not copied.

use bytes::Bytes;
use std::collections::HashMap;

/// Asks [`Rpc::ChatComplete`](crate::Rpc) and the other calls that take the JSON of OpenAI's API.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenAiRequest {
    /// The body of the HTTP request.
    #[prost(bytes = "bytes", tag = "1")]
    pub json_body: Bytes,
    /// `traceparent` and `tracestate`.
    #[prost(map = "string, string", tag = "2")]
    pub trace_headers: HashMap<String, String>,
}

/// One chunk of the answer to `ChatComplete` and `Complete`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenAiStreamChunk {
    /// A chunk of a stream, or a whole answer; empty at the end of a stream.
    #[prost(bytes = "bytes", tag = "1")]
    pub json_chunk: Bytes,
    /// Whether it is the last one.
    #[prost(bool, tag = "2")]
    pub finished: bool,
    /// The status of a whole answer or of an error; 0 elsewhere.
    #[prost(int32, tag = "3")]
    pub status_code: i32,
}

/// The answer to `OpenAIEmbed`, `OpenAIClassify`, `Score` and `Rerank`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenAiResponse {
    /// The answer.
    #[prost(bytes = "bytes", tag = "1")]
    pub json_body: Bytes,
    /// Its HTTP status; 0 means 200.
    #[prost(int32, tag = "2")]
    pub status_code: i32,
}

/// How tokens are drawn. Absent members are the server's defaults.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the names are those of the members of SGLang's /generate")]
pub struct SamplingParams {
    #[prost(float, optional, tag = "1")]
    pub temperature: Option<f32>,
    #[prost(float, optional, tag = "2")]
    pub top_p: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    pub top_k: Option<i32>,
    #[prost(float, optional, tag = "4")]
    pub min_p: Option<f32>,
    #[prost(float, optional, tag = "5")]
    pub frequency_penalty: Option<f32>,
    #[prost(float, optional, tag = "6")]
    pub presence_penalty: Option<f32>,
    #[prost(float, optional, tag = "7")]
    pub repetition_penalty: Option<f32>,
    #[prost(int32, optional, tag = "8")]
    pub max_new_tokens: Option<i32>,
    #[prost(int32, optional, tag = "9")]
    pub min_new_tokens: Option<i32>,
    #[prost(string, repeated, tag = "10")]
    pub stop: Vec<String>,
    #[prost(int32, repeated, tag = "11")]
    pub stop_token_ids: Vec<i32>,
    #[prost(bool, optional, tag = "12")]
    pub ignore_eos: Option<bool>,
    #[prost(int32, optional, tag = "13")]
    pub n: Option<i32>,
    #[prost(string, optional, tag = "14")]
    pub json_schema: Option<String>,
    #[prost(string, optional, tag = "15")]
    pub regex: Option<String>,
}

/// Where a decode server fetches the prompt from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DisaggregatedParams {
    /// The host of the prefill server.
    #[prost(string, tag = "1")]
    pub bootstrap_host: String,
    /// Its bootstrap port.
    #[prost(int32, tag = "2")]
    pub bootstrap_port: i32,
    /// The number that the two legs of the request share.
    #[prost(int64, tag = "3")]
    pub bootstrap_room: i64,
}

/// Asks `TextGenerate`. The members are those of SGLang's `/generate`.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the names are those of the members of SGLang's /generate")]
pub struct TextGenerateRequest {
    #[prost(string, tag = "1")]
    pub text: String,
    #[prost(message, optional, tag = "2")]
    pub sampling_params: Option<SamplingParams>,
    #[prost(bool, optional, tag = "3")]
    pub stream: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub return_logprob: Option<bool>,
    #[prost(int32, optional, tag = "5")]
    pub top_logprobs_num: Option<i32>,
    #[prost(int32, optional, tag = "6")]
    pub logprob_start_len: Option<i32>,
    #[prost(bool, optional, tag = "7")]
    pub return_text_in_logprobs: Option<bool>,
    #[prost(string, optional, tag = "8")]
    pub rid: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub lora_path: Option<String>,
    #[prost(string, optional, tag = "10")]
    pub routing_key: Option<String>,
    #[prost(int32, optional, tag = "11")]
    pub routed_dp_rank: Option<i32>,
    #[prost(map = "string, string", tag = "12")]
    pub trace_headers: HashMap<String, String>,
    #[prost(message, optional, tag = "13")]
    pub disaggregated_params: Option<DisaggregatedParams>,
}

/// Asks `Generate`: [`TextGenerateRequest`] with token ids in place of text.
#[derive(Clone, PartialEq, prost::Message)]
#[expect(missing_docs, reason = "the names are those of the members of SGLang's /generate")]
pub struct GenerateRequest {
    #[prost(int32, repeated, tag = "1")]
    pub input_ids: Vec<i32>,
    #[prost(message, optional, tag = "2")]
    pub sampling_params: Option<SamplingParams>,
    #[prost(bool, optional, tag = "3")]
    pub stream: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub return_logprob: Option<bool>,
    #[prost(int32, optional, tag = "5")]
    pub top_logprobs_num: Option<i32>,
    #[prost(int32, optional, tag = "6")]
    pub logprob_start_len: Option<i32>,
    #[prost(string, optional, tag = "7")]
    pub rid: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub lora_path: Option<String>,
    #[prost(string, optional, tag = "9")]
    pub routing_key: Option<String>,
    #[prost(int32, optional, tag = "10")]
    pub routed_dp_rank: Option<i32>,
    #[prost(map = "string, string", tag = "11")]
    pub trace_headers: HashMap<String, String>,
    #[prost(message, optional, tag = "12")]
    pub disaggregated_params: Option<DisaggregatedParams>,
}

/// One entry of `meta_info`. On the wire a map is a list of such entries; as a list they keep their order.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetaInfoEntry {
    /// The member's name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value, as JSON.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

/// One answer to `TextGenerate`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TextGenerateResponse {
    /// The whole text so far.
    #[prost(string, tag = "1")]
    pub text: String,
    /// What SGLang's `/generate` has under this name.
    #[prost(message, repeated, tag = "2")]
    pub meta_info: Vec<MetaInfoEntry>,
    /// Whether the call has ended.
    #[prost(bool, tag = "3")]
    pub finished: bool,
}

/// One answer to `Generate`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GenerateResponse {
    /// All token ids so far.
    #[prost(int32, repeated, tag = "1")]
    pub output_ids: Vec<i32>,
    /// What SGLang's `/generate` has under this name.
    #[prost(message, repeated, tag = "2")]
    pub meta_info: Vec<MetaInfoEntry>,
    /// Whether the call has ended.
    #[prost(bool, tag = "3")]
    pub finished: bool,
}

/// Asks a call without parameters.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Empty {}

/// The answer to `HealthCheck`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct HealthCheckResponse {
    /// Whether it serves.
    #[prost(bool, tag = "1")]
    pub healthy: bool,
}

/// Asks `GetLoad`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct GetLoadRequest {
    /// One rank; absent: all.
    #[prost(int32, optional, tag = "1")]
    pub dp_rank: Option<i32>,
}

/// The answer to `GetLoad` and `GetServerInfo`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct JsonInfo {
    /// JSON: of `GetLoad` the array of the entries of `/v1/loads`.
    #[prost(bytes = "bytes", tag = "1")]
    pub json_info: Bytes,
}

/// The answer to `GetModelInfo`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ModelInfo {
    /// The model.
    #[prost(string, tag = "1")]
    pub model_path: String,
    /// What `/model_info` answers.
    #[prost(bytes = "bytes", tag = "2")]
    pub json_info: Bytes,
}

/// One model of [`ListModelsResponse`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ModelCard {
    /// Its name in requests.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The model that it is, or whose adapter.
    #[prost(string, tag = "2")]
    pub root: String,
    /// The model that it adapts.
    #[prost(string, optional, tag = "3")]
    pub parent: Option<String>,
    /// Most tokens of a prompt and its answer.
    #[prost(int64, optional, tag = "4")]
    pub max_model_len: Option<i64>,
}

/// The answer to `ListModels`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListModelsResponse {
    /// The model and its adapters.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelCard>,
}

/// The state of a server, from `WatchEngineState`: once at the beginning and after each change.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EngineState {
    /// Another one after each start.
    #[prost(uint64, tag = "1")]
    pub instance_id: u64,
    /// Counts the changes.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Whether it serves.
    #[prost(bool, tag = "3")]
    pub healthy: bool,
    /// Whether generation is paused.
    #[prost(bool, tag = "4")]
    pub is_paused: bool,
    /// What `GetModelInfo` answers.
    #[prost(message, optional, tag = "5")]
    pub model: Option<ModelInfo>,
    /// What `GetServerInfo` answers.
    #[prost(message, optional, tag = "6")]
    pub server: Option<JsonInfo>,
}

/// Asks `Tokenize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TokenizeRequest {
    /// The text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// Whether the tokens that begin and end a text are added; absent: the server decides.
    #[prost(bool, optional, tag = "2")]
    pub add_special_tokens: Option<bool>,
}

/// The answer to `Tokenize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TokenizeResponse {
    /// The tokens.
    #[prost(int32, repeated, tag = "1")]
    pub tokens: Vec<i32>,
    /// Their number.
    #[prost(int32, tag = "2")]
    pub count: i32,
    /// Most tokens of a prompt and its answer.
    #[prost(int32, tag = "3")]
    pub max_model_len: i32,
    /// The text.
    #[prost(string, tag = "4")]
    pub input_text: String,
}

/// Asks `Detokenize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DetokenizeRequest {
    /// The tokens.
    #[prost(int32, repeated, tag = "1")]
    pub tokens: Vec<i32>,
}

/// The answer to `Detokenize`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DetokenizeResponse {
    /// The text.
    #[prost(string, tag = "1")]
    pub text: String,
}

/// Asks `Abort`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AbortRequest {
    /// The request's id.
    #[prost(string, tag = "1")]
    pub rid: String,
    /// Whether all requests are meant.
    #[prost(bool, tag = "2")]
    pub abort_all: bool,
}

/// Asks `PauseGeneration`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PauseRequest {
    /// What becomes of running requests: `abort`, `in_place` or `retract`.
    #[prost(string, tag = "1")]
    pub mode: String,
}

/// Asks `UpdateWeightsFromDisk`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct UpdateWeightsRequest {
    /// Where the weights are.
    #[prost(string, tag = "1")]
    pub model_path: String,
    /// Their format; absent: that of the start.
    #[prost(string, optional, tag = "2")]
    pub load_format: Option<String>,
}

/// The answer to `Abort`, `FlushCache` and `UpdateWeightsFromDisk`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ControlResponse {
    /// Whether it was done.
    #[prost(bool, tag = "1")]
    pub success: bool,
    /// What was done, or why not.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The answer to `PauseGeneration` and `ContinueGeneration`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ControlMessage {
    /// What was done.
    #[prost(string, tag = "1")]
    pub message: String,
}
