//! Request bodies as they come in, and what they mean.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use crate::api::generation::{Prompt, SamplingParams};

/// One thing or a list of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Body of `/generate`. Unknown fields are ignored, as by SGLang.
#[derive(Debug, Deserialize)]
pub(crate) struct GenerateBody {
    pub(crate) text: Option<OneOrMany<String>>,
    pub(crate) input_ids: Option<OneOrManyIds>,
    pub(crate) rid: Option<OneOrMany<String>>,
    pub(crate) sampling_params: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) stream: bool,
}

/// Token ids of one prompt or of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrManyIds {
    One(Vec<u32>),
    Many(Vec<Vec<u32>>),
}

/// `sampling_params` of `/generate`; the field list is SGLang 0.5.23's, and so is the error on others.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SamplingBody {
    max_new_tokens: Option<i64>,
    stop: Option<OneOrMany<String>>,
    stop_token_ids: Option<Value>,
    stop_regex: Option<Value>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    top_k: Option<i64>,
    min_p: Option<Number>,
    frequency_penalty: Option<Number>,
    presence_penalty: Option<Number>,
    repetition_penalty: Option<Number>,
    min_new_tokens: Option<u32>,
    n: Option<u32>,
    json_schema: Option<Value>,
    regex: Option<Value>,
    ebnf: Option<Value>,
    structural_tag: Option<Value>,
    ignore_eos: Option<bool>,
    skip_special_tokens: Option<bool>,
    spaces_between_special_tokens: Option<bool>,
    no_stop_trim: Option<bool>,
    stream_interval: Option<u32>,
    logit_bias: Option<Value>,
    sampling_seed: Option<i64>,
    custom_params: Option<CustomParams>,
    beam_width: Option<Value>,
    watermark: Option<Value>,
    choice: Option<Value>,
}

/// `custom_params` is SGLang's free-form field; ours fixes the output length.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CustomParams {
    output_tokens: Option<u32>,
}

impl From<SamplingBody> for SamplingParams {
    fn from(body: SamplingBody) -> Self {
        Self {
            max_new_tokens: body.max_new_tokens,
            min_new_tokens: body.min_new_tokens.unwrap_or(0),
            ignore_eos: body.ignore_eos.unwrap_or(false),
            stop: body.stop.map(OneOrMany::into_vec).unwrap_or_default(),
            temperature: body.temperature,
            choices: body.n,
            forced: body.custom_params.and_then(|c| c.output_tokens),
        }
    }
}

/// The fields the OpenAI routes share.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OpenAiCommon {
    pub(crate) model: Option<String>,
    pub(crate) stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    pub(crate) rid: Option<String>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    max_output_tokens: Option<i64>,
    min_tokens: Option<u32>,
    temperature: Option<Number>,
    n: Option<u32>,
    stop: Option<OneOrMany<String>>,
    ignore_eos: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct StreamOptions {
    include_usage: bool,
    continuous_usage_stats: bool,
}

/// Which chunks of a stream carry usage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UsageReporting {
    Never,
    Last,
    Every,
}

impl OpenAiCommon {
    pub(crate) fn usage(&self) -> UsageReporting {
        match self.stream_options {
            Some(StreamOptions { include_usage: true, continuous_usage_stats: true }) => {
                UsageReporting::Every
            }
            Some(StreamOptions { include_usage: true, .. }) => UsageReporting::Last,
            _ => UsageReporting::Never,
        }
    }

    /// Sets the bound on the output where the client gave none.
    pub(crate) fn default_max_tokens(&mut self, tokens: i64) {
        self.max_tokens = self.max_completion_tokens.or(self.max_tokens).or(Some(tokens));
    }

    pub(crate) fn sampling(&self) -> SamplingParams {
        SamplingParams {
            max_new_tokens: self.max_completion_tokens.or(self.max_tokens).or(self.max_output_tokens),
            min_new_tokens: self.min_tokens.unwrap_or(0),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stop: self.stop.clone().map(OneOrMany::into_vec).unwrap_or_default(),
            temperature: self.temperature.clone(),
            choices: self.n,
            forced: None,
        }
    }
}

/// Body of `/v1/chat/completions`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatBody {
    pub(crate) messages: Vec<ChatMessage>,
    #[serde(flatten)]
    pub(crate) common: OpenAiCommon,
}

/// One message of a chat.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ChatMessage {
    role: String,
    #[serde(default)]
    content: Value,
}

/// Body of `/v1/completions`.
#[derive(Debug, Deserialize)]
pub(crate) struct CompletionsBody {
    pub(crate) prompt: PromptBody,
    #[serde(flatten)]
    pub(crate) common: OpenAiCommon,
}

/// Every form a prompt may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum PromptBody {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u32>>),
}

impl PromptBody {
    pub(crate) fn into_prompts(self) -> Vec<Prompt> {
        match self {
            Self::Text(text) => vec![Prompt::Text(text)],
            Self::Ids(ids) => vec![Prompt::Ids(ids)],
            Self::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Self::IdLists(lists) => lists.into_iter().map(Prompt::Ids).collect(),
        }
    }
}

/// Body of `/v1/responses`.
#[derive(Debug, Deserialize)]
pub(crate) struct ResponsesBody {
    pub(crate) input: ResponsesInput,
    #[serde(default)]
    pub(crate) instructions: Option<String>,
    #[serde(flatten)]
    pub(crate) common: OpenAiCommon,
}

/// Body of `/v1/messages` and of `/v1/messages/count_tokens`.
#[derive(Debug, Deserialize)]
pub(crate) struct MessagesBody {
    pub(crate) messages: Vec<ChatMessage>,
    /// A text, or a list of blocks.
    #[serde(default)]
    system: Option<Value>,
    #[serde(flatten)]
    pub(crate) common: OpenAiCommon,
}

impl MessagesBody {
    pub(crate) fn prompt(&self) -> Prompt {
        let system = self.system.iter().cloned();
        let system = system.map(|content| ChatMessage { role: "system".into(), content });
        render(&system.chain(self.messages.iter().cloned()).collect::<Vec<_>>())
    }
}

/// A text, or messages as in a chat.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ResponsesInput {
    Text(String),
    Messages(Vec<ChatMessage>),
}

impl ResponsesBody {
    pub(crate) fn prompt(&self) -> Prompt {
        let mut messages = Vec::new();
        if let Some(instructions) = &self.instructions {
            messages
                .push(ChatMessage { role: "system".into(), content: Value::String(instructions.clone()) });
        }
        match &self.input {
            ResponsesInput::Text(text) => {
                messages.push(ChatMessage { role: "user".into(), content: Value::String(text.clone()) });
            }
            ResponsesInput::Messages(more) => messages.extend_from_slice(more),
        }
        render(&messages)
    }
}

/// The prompt a chat becomes; see `text` for the form.
pub(crate) fn render(messages: &[ChatMessage]) -> Prompt {
    let mut out = String::new();
    for message in messages {
        out.push_str("<|");
        out.push_str(&message.role);
        out.push_str("|>\n");
        push_content(&message.content, &mut out);
        out.push_str("<|end|>\n");
    }
    out.push_str("<|assistant|>\n");
    Prompt::Text(out)
}

/// Plain text, or the text parts of a list of parts.
fn push_content(content: &Value, out: &mut String) {
    match content {
        Value::String(text) => out.push_str(text),
        Value::Array(parts) => {
            for part in parts {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    out.push_str(text);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_prompt_tokens_match_capture() {
        let tokens = |content: &str| {
            let body = serde_json::json!({"messages": [{"role": "user", "content": content}]});
            render(&serde_json::from_value::<ChatBody>(body).unwrap().messages).tokens()
        };
        assert_eq!(tokens("hello there"), 11);
        assert_eq!(tokens("h"), 8);
    }
}
