//! An HTTP request as calls of the service.

mod check;
mod generate;
pub(crate) mod metadata;
mod one_or_many;
mod refusal;
mod sampling;

pub use check::CallCheck;
pub use metadata::timeout_of;
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

    /// The calls for a request; `path` is without its query. `check` has what was read of the body before, if it was.
    ///
    /// # Errors
    /// When the service has no call for it.
    pub(crate) fn of(
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &Bytes,
        check: Option<&CallCheck>,
    ) -> Result<Self, Refusal> {
        let rpc = rpc_of(method, path).ok_or_else(|| Refusal::Path(without_slash(path).to_owned()))?;
        let empty = |answer| Ok(Self::one(rpc, &Empty {}, answer));
        let openai = |answer| {
            let trace_headers = metadata::trace_headers(headers);
            Ok(Self::one(rpc, &OpenAiRequest { json_body: body.clone(), trace_headers }, answer))
        };
        match rpc {
            Rpc::ChatComplete | Rpc::Complete => openai(Answer::OpenAiChunks),
            Rpc::OpenAiEmbed | Rpc::OpenAiClassify | Rpc::Score | Rpc::Rerank => openai(Answer::OpenAiBody),
            Rpc::TextGenerate | Rpc::Generate => match check.and_then(|check| check.read_of(body)) {
                Some(read) => Self::generate(headers, read.as_ref().map_err(Clone::clone)?),
                None => Self::generate(headers, &generate::Body::read(body)?),
            },
            Rpc::Tokenize => Self::tokenize(body),
            Rpc::Detokenize => Self::detokenize(body),
            Rpc::HealthCheck => empty(Answer::Health),
            Rpc::GetLoad => Ok(Self::one(rpc, &GetLoadRequest { dp_rank: None }, Answer::Loads)),
            Rpc::GetModelInfo => empty(Answer::ModelInfo),
            Rpc::GetServerInfo => empty(Answer::ServerInfo),
            Rpc::ListModels => empty(Answer::Models(model_of(path).map(str::to_owned))),
            Rpc::Abort => Self::abort(body),
            Rpc::FlushCache => empty(Answer::Flushed),
            Rpc::PauseGeneration => Self::pause(body),
            Rpc::ContinueGeneration => empty(Answer::Message),
            Rpc::UpdateWeightsFromDisk => Self::update_weights(body),
            // No path leads here.
            Rpc::WatchEngineState => Err(Refusal::Path(without_slash(path).to_owned())),
        }
    }

    fn generate(headers: &HeaderMap, body: &generate::Body) -> Result<Self, Refusal> {
        let asked = generate::calls(headers, body)?;
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

/// The model that a path of `/v1/models/` names.
fn model_of(path: &str) -> Option<&str> {
    without_slash(path).strip_prefix("/v1/models/")
}

/// The call for requests at this path; at `/generate` [`Rpc::TextGenerate`] stands for `Generate`, too, because the body says which of them.
fn rpc_of(method: &Method, path: &str) -> Option<Rpc> {
    Some(match without_slash(path) {
        "/v1/chat/completions" => Rpc::ChatComplete,
        "/v1/completions" => Rpc::Complete,
        "/v1/embeddings" => Rpc::OpenAiEmbed,
        "/classify" | "/v1/classify" => Rpc::OpenAiClassify,
        "/score" | "/v1/score" => Rpc::Score,
        "/rerank" | "/v1/rerank" => Rpc::Rerank,
        "/generate" => Rpc::TextGenerate,
        "/tokenize" | "/v1/tokenize" => Rpc::Tokenize,
        "/detokenize" | "/v1/detokenize" => Rpc::Detokenize,
        "" | "/health" | "/health_generate" | "/ping" => Rpc::HealthCheck,
        "/v1/loads" => Rpc::GetLoad,
        "/model_info" | "/get_model_info" => Rpc::GetModelInfo,
        "/server_info" | "/get_server_info" => Rpc::GetServerInfo,
        "/v1/models" => Rpc::ListModels,
        "/abort_request" => Rpc::Abort,
        "/flush_cache" => Rpc::FlushCache,
        "/pause_generation" => Rpc::PauseGeneration,
        "/continue_generation" => Rpc::ContinueGeneration,
        "/update_weights_from_disk" => Rpc::UpdateWeightsFromDisk,
        path if *method == Method::GET && model_of(path).is_some() => Rpc::ListModels,
        _ => return None,
    })
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
        match rpc_of(&Method::POST, path) {
            Some(Rpc::TextGenerate) => Self::ByBody,
            Some(
                Rpc::ChatComplete
                | Rpc::Complete
                | Rpc::OpenAiEmbed
                | Rpc::OpenAiClassify
                | Rpc::Score
                | Rpc::Rerank,
            ) => Self::Every,
            _ => Self::Never,
        }
    }
}
