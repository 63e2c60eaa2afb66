//! An HTTP request as calls of the service.

mod generate;
pub(crate) mod metadata;
mod one_or_many;
mod refusal;
mod sampling;

pub use refusal::Refusal;
pub(crate) use refusal::error_body;

use crate::framing::framed;
use crate::messages::{
    AbortRequest, DetokenizeRequest, Empty, GetLoadRequest, OpenAiRequest, PauseRequest, TokenizeRequest,
    UpdateWeightsRequest,
};
use crate::rpc::Rpc;
use bytes::Bytes;
use generate::Prompts;
use http::{HeaderMap, Method};
use one_or_many::OneOrMany;
use prost::Message;
use serde::Deserialize;
use smallvec::{SmallVec, smallvec};

/// What `/generate` answers with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Generated {
    /// A text.
    Text,
    /// Token ids.
    TokenIds,
}

/// How the answer to a call becomes an HTTP response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Chunks of JSON with a status.
    OpenAiChunks,
    /// One JSON with a status.
    OpenAiBody,
    /// Texts or token ids with their `meta_info`, as events.
    GenerateEvents {
        /// Which of them.
        of: Generated,
        /// How many answers each call has, where events tell to which answer they belong.
        choices: Option<Vec<usize>>,
    },
    /// The same, as a whole.
    GenerateWhole {
        /// Which of them.
        of: Generated,
        /// Whether there may be several.
        is_list: bool,
    },
    /// Nothing, and 503 if it is not healthy.
    Health,
    /// The JSON of `/v1/loads`.
    Loads,
    /// The JSON in the message.
    ModelInfo,
    /// The JSON in the message.
    ServerInfo,
    /// The JSON of `/v1/models`, or of one model.
    Models(Option<String>),
    /// The JSON of `/tokenize`.
    Tokens {
        /// Whether there may be several.
        is_list: bool,
    },
    /// The JSON of `/detokenize`.
    Text {
        /// Whether there may be several.
        is_list: bool,
    },
    /// Nothing.
    Aborted,
    /// A line of text, and 400 if it was not done.
    Flushed,
    /// `{"status", "message"}`.
    Message,
    /// `{"success", "message"}`, and 400 if it was not done.
    Updated,
}

/// Calls of one kind, whose answers together are one HTTP response.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) rpc: Rpc,
    /// The message of each, with its length before it as on the wire.
    pub(crate) messages: SmallVec<[Bytes; 1]>,
    pub(crate) answer: Answer,
}

impl Call {
    pub(crate) fn one(rpc: Rpc, message: &impl Message, answer: Answer) -> Self {
        Self { rpc, messages: smallvec![framed(message)], answer }
    }

    /// The calls for a request; `path` is without its query.
    ///
    /// # Errors
    /// When the service has no call for it.
    pub(crate) fn of(
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Self, Refusal> {
        let empty = |rpc, answer| Ok(Self::one(rpc, &Empty {}, answer));
        if let Some(rpc) = openai_rpc(path) {
            let trace_headers = metadata::trace_headers(headers);
            let answer = match rpc {
                Rpc::ChatComplete | Rpc::Complete => Answer::OpenAiChunks,
                _ => Answer::OpenAiBody,
            };
            return Ok(Self::one(rpc, &OpenAiRequest { json_body: body.clone(), trace_headers }, answer));
        }
        match without_slash(path) {
            "/generate" => Self::generate(headers, body),
            "/tokenize" | "/v1/tokenize" => Self::tokenize(body),
            "/detokenize" | "/v1/detokenize" => Self::detokenize(body),
            "" | "/health" | "/health_generate" | "/ping" => empty(Rpc::HealthCheck, Answer::Health),
            "/v1/loads" => Ok(Self::one(Rpc::GetLoad, &GetLoadRequest { dp_rank: None }, Answer::Loads)),
            "/model_info" | "/get_model_info" => empty(Rpc::GetModelInfo, Answer::ModelInfo),
            "/server_info" | "/get_server_info" => empty(Rpc::GetServerInfo, Answer::ServerInfo),
            "/v1/models" => empty(Rpc::ListModels, Answer::Models(None)),
            "/abort_request" => Self::abort(body),
            "/flush_cache" => empty(Rpc::FlushCache, Answer::Flushed),
            "/pause_generation" => Self::pause(body),
            "/continue_generation" => empty(Rpc::ContinueGeneration, Answer::Message),
            "/update_weights_from_disk" => Self::update_weights(body),
            path => match path.strip_prefix("/v1/models/").filter(|_| *method == Method::GET) {
                Some(model) => empty(Rpc::ListModels, Answer::Models(Some(model.to_owned()))),
                None => Err(Refusal::Path(path.to_owned())),
            },
        }
    }

    fn generate(headers: &HeaderMap, body: &Bytes) -> Result<Self, Refusal> {
        let asked = generate::read(headers, body)?;
        let (rpc, of, messages) = match asked.prompts {
            Prompts::Texts(calls) => (Rpc::TextGenerate, Generated::Text, calls.iter().map(framed).collect()),
            Prompts::TokenIds(calls) => {
                (Rpc::Generate, Generated::TokenIds, calls.iter().map(framed).collect())
            }
        };
        let answer = if asked.is_stream {
            Answer::GenerateEvents { of, choices: Some(asked.choices).filter(|_| asked.is_list) }
        } else {
            Answer::GenerateWhole { of, is_list: asked.is_list }
        };
        Ok(Self { rpc, messages, answer })
    }

    fn tokenize(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            prompt: OneOrMany<String>,
            add_special_tokens: Option<bool>,
        }
        let Body { prompt, add_special_tokens } = read(body, "/tokenize")?;
        let (is_list, texts) = (prompt.is_list(), prompt.into_list());
        let message = |text| framed(&TokenizeRequest { text, add_special_tokens });
        Self::of_list(Rpc::Tokenize, texts.into_iter().map(message).collect(), Answer::Tokens { is_list })
    }

    fn detokenize(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            tokens: OneOrMany<Vec<i32>>,
        }
        let Body { tokens } = read(body, "/detokenize")?;
        let (is_list, lists) = (tokens.is_list(), tokens.into_list());
        let message = |tokens| framed(&DetokenizeRequest { tokens });
        Self::of_list(Rpc::Detokenize, lists.into_iter().map(message).collect(), Answer::Text { is_list })
    }

    fn of_list(rpc: Rpc, messages: SmallVec<[Bytes; 1]>, answer: Answer) -> Result<Self, Refusal> {
        if messages.is_empty() {
            return Err(Refusal::Malformed("the list is empty".to_owned()));
        }
        Ok(Self { rpc, messages, answer })
    }

    fn abort(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Body {
            rid: Option<String>,
            abort_all: bool,
        }
        let Body { rid, abort_all } = read(body, "/abort_request")?;
        let message = AbortRequest { rid: rid.unwrap_or_default(), abort_all };
        Ok(Self::one(Rpc::Abort, &message, Answer::Aborted))
    }

    fn pause(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Body {
            mode: Option<String>,
        }
        let Body { mode } = if body.is_empty() { Body::default() } else { read(body, "/pause_generation")? };
        let message = PauseRequest { mode: mode.unwrap_or_else(|| "abort".to_owned()) };
        Ok(Self::one(Rpc::PauseGeneration, &message, Answer::Message))
    }

    fn update_weights(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Body {
            model_path: String,
            load_format: Option<String>,
        }
        let Body { model_path, load_format } = read(body, "/update_weights_from_disk")?;
        let message = UpdateWeightsRequest { model_path, load_format };
        Ok(Self::one(Rpc::UpdateWeightsFromDisk, &message, Answer::Updated))
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], path: &str) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::Malformed(format!("the body of {path} cannot be read: {error}")))
}

/// A path without the slash at its end.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// The call that takes the body of a request at this path as it is.
fn openai_rpc(path: &str) -> Option<Rpc> {
    Some(match without_slash(path) {
        "/v1/chat/completions" => Rpc::ChatComplete,
        "/v1/completions" => Rpc::Complete,
        "/v1/embeddings" => Rpc::OpenAiEmbed,
        "/classify" | "/v1/classify" => Rpc::OpenAiClassify,
        "/score" | "/v1/score" => Rpc::Score,
        "/rerank" | "/v1/rerank" => Rpc::Rerank,
        _ => return None,
    })
}

/// Whether the service has a call for a request; the body of one that it cannot read counts as if it had.
pub fn has_call(method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> bool {
    let is_without =
        || matches!(Call::of(method, path, headers, body), Err(Refusal::Path(_) | Refusal::Member(_)));
    openai_rpc(path).is_some() || !is_without()
}

/// Which requests at a path that the model computes for have a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InferenceSupport {
    /// All of them.
    Every,
    /// Those whose body has no member without a field.
    ByBody,
    /// None; or the path is not one that the model computes for.
    Never,
}

impl InferenceSupport {
    /// The support at this path.
    pub fn of_path(path: &str) -> Self {
        match without_slash(path) {
            path if openai_rpc(path).is_some() => Self::Every,
            "/generate" => Self::ByBody,
            _ => Self::Never,
        }
    }
}
