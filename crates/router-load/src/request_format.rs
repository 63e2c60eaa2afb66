//! Path and JSON body of a request, for each API.

use crate::plan::{PlannedRequest, ResponseMode, length_wish};
use bytes::Bytes;
use router_core::Route;
use serde::Serialize;
use std::str::FromStr;

/// The API that requests are made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ApiEndpoint {
    /// `/generate`, SGLang's own, which reports the most times.
    #[default]
    Generate,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl ApiEndpoint {
    /// The route.
    pub const fn route(self) -> Route {
        match self {
            Self::Generate => Route::Generate,
            Self::Chat => Route::ChatCompletions,
            Self::Completions => Route::Completions,
        }
    }
}

/// The given name is not an endpoint.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{0}' is none of /generate, chat, completions")]
pub struct UnknownEndpoint(String);

impl FromStr for ApiEndpoint {
    type Err = UnknownEndpoint;

    fn from_str(name: &str) -> Result<Self, UnknownEndpoint> {
        match name.trim_start_matches('/').trim_start_matches("v1/") {
            "generate" => Ok(Self::Generate),
            "chat" | "chat/completions" => Ok(Self::Chat),
            "completions" => Ok(Self::Completions),
            _ => Err(UnknownEndpoint(name.to_owned())),
        }
    }
}

/// What all requests of a load test have in common.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestFormat {
    /// The API. Default `/generate`.
    pub endpoint: ApiEndpoint,
    /// The model to request. Without one, `/generate` omits it and the OpenAI routes send `default`.
    pub model: Option<String>,
    /// When the output ends. Default at its planned length.
    pub stop: StopRule,
}

/// When the output ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StopRule {
    /// At its planned length (`ignore_eos`), so that the same plan gives the same work.
    #[default]
    Planned,
    /// Where the model ends it, at most at its planned length.
    Natural,
}

#[derive(Serialize)]
struct GenerateBody<'a> {
    text: &'a str,
    sampling_params: SamplingBody,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
}

#[derive(Serialize)]
struct SamplingBody {
    max_new_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
}

#[derive(Serialize)]
struct OpenAiBody<'a> {
    model: &'a str,
    #[serde(flatten)]
    prompt: OpenAiPrompt<'a>,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum OpenAiPrompt<'a> {
    Messages([ChatMessage<'a>; 1]),
    Prompt(&'a str),
}

#[derive(Serialize)]
struct ChatMessage<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl RequestFormat {
    /// The body of one request.
    pub(crate) fn body(&self, request: &PlannedRequest) -> Bytes {
        let mut text = request.prompt.text();
        let stream = request.response_mode == ResponseMode::Streamed;
        let ends_at_limit = self.stop == StopRule::Planned && request.output_limit.is_none();
        let ignore_eos = ends_at_limit.then_some(true);
        let max_tokens = request.output_limit.unwrap_or(request.output_tokens);
        if request.output_limit.is_some() {
            text.to_mut().push_str(&length_wish(request.output_tokens));
        }
        let prompt = match self.endpoint {
            ApiEndpoint::Generate => {
                let sampling_params = SamplingBody { max_new_tokens: max_tokens, ignore_eos };
                let model = self.model.as_deref();
                return json(&GenerateBody { text: &text, sampling_params, stream, model }, text.len());
            }
            ApiEndpoint::Chat => OpenAiPrompt::Messages([ChatMessage { role: "user", content: &text }]),
            ApiEndpoint::Completions => OpenAiPrompt::Prompt(&text),
        };
        let body = OpenAiBody {
            model: self.model.as_deref().unwrap_or("default"),
            prompt,
            max_tokens,
            ignore_eos,
            stream,
            // Otherwise a stream does not report its token counts.
            stream_options: stream.then_some(StreamOptions { include_usage: true }),
        };
        json(&body, text.len())
    }
}

fn json(body: &impl Serialize, text: usize) -> Bytes {
    let mut out = Vec::with_capacity(text + 192);
    // Serializing these types into a vector cannot fail.
    let _ = serde_json::to_writer(&mut out, body);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Prompt;
    use std::time::Duration;

    fn body(format: &RequestFormat, response_mode: ResponseMode) -> String {
        limited(format, response_mode, None)
    }

    fn limited(format: &RequestFormat, response_mode: ResponseMode, limit: Option<u32>) -> String {
        let request = PlannedRequest {
            at: Duration::ZERO,
            prompt: Prompt::Text("say \"hi\"\n".into()),
            input_tokens: 3,
            output_tokens: 7,
            output_limit: limit,
            client: None,
            traced_output: None,
            response_mode,
        };
        String::from_utf8(format.body(&request).to_vec()).unwrap()
    }

    #[test]
    fn each_api_gets_its_own_body() {
        let generate = RequestFormat::default();
        assert_eq!(
            body(&generate, ResponseMode::Streamed),
            r#"{"text":"say \"hi\"\n","sampling_params":{"max_new_tokens":7,"ignore_eos":true},"stream":true}"#
        );
        let chat = RequestFormat {
            endpoint: ApiEndpoint::Chat,
            model: Some("m".into()),
            ..RequestFormat::default()
        };
        assert_eq!(
            body(&chat, ResponseMode::Streamed),
            r#"{"model":"m","messages":[{"role":"user","content":"say \"hi\"\n"}],"max_tokens":7,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}"#
        );
        let natural = RequestFormat {
            endpoint: ApiEndpoint::Completions,
            stop: StopRule::Natural,
            ..RequestFormat::default()
        };
        assert_eq!(
            body(&natural, ResponseMode::Whole),
            r#"{"model":"default","prompt":"say \"hi\"\n","max_tokens":7,"stream":false}"#
        );
    }

    #[test]
    fn limit_tells_nothing_of_the_length() {
        assert_eq!(
            limited(&RequestFormat::default(), ResponseMode::Whole, Some(64)),
            r#"{"text":"say \"hi\"\n Answer in 7 words.","sampling_params":{"max_new_tokens":64},"stream":false}"#
        );
    }

    #[test]
    fn endpoints_parse_paths_and_short_names() {
        for (name, endpoint) in [
            ("/generate", ApiEndpoint::Generate),
            ("chat", ApiEndpoint::Chat),
            ("/v1/chat/completions", ApiEndpoint::Chat),
            ("completions", ApiEndpoint::Completions),
        ] {
            assert_eq!(name.parse(), Ok(endpoint));
        }
        assert!("embeddings".parse::<ApiEndpoint>().is_err());
    }
}
