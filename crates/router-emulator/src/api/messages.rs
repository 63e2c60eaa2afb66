//! Responses of `/v1/messages`, Anthropic's API, as SGLang makes them out of those of a chat.

use crate::api::body::HttpResponse;
use crate::api::errors::with_type;
use crate::api::formats::{ChoiceStream, EventWriter, TokenUsage};
use crate::api::generation::Generation;
use crate::api::meta_info::{openai_finish, quoted};
use crate::engine_task::progress::{GenerationEnd, GenerationProgress};
use http::StatusCode;

impl EventWriter {
    /// Writes what is new in the message.
    pub(super) fn write_messages(
        &self,
        choice: &ChoiceStream,
        progress: &GenerationProgress,
        out: &mut Vec<u8>,
    ) {
        if choice.sent == 0 {
            let cached = progress.first.map_or(0, |first| first.cached_tokens);
            let usage = TokenUsage { prompt: choice.generation.prompt_tokens, completion: 0, cached };
            let message = self.message("[]", None, &usage);
            event("message_start", &format!("\"message\":{message}"), out);
            event(
                "content_block_start",
                "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}",
                out,
            );
        }
        if progress.generated > choice.sent {
            let mut delta = Vec::new();
            choice.generation.push_text(choice.sent, progress.generated, &mut delta);
            let delta = String::from_utf8(delta).unwrap_or_default();
            let fields = format!("\"delta\":{{\"type\":\"text_delta\",\"text\":\"{delta}\"}},\"index\":0");
            event("content_block_delta", &fields, out);
        }
    }

    pub(super) fn write_messages_end(&self, streams: &[ChoiceStream], out: &mut Vec<u8>) {
        let Some(choice) = streams.first() else { return };
        let Some(end) = &choice.end else { return };
        event("content_block_stop", "\"index\":0", out);
        let reason = stop_reason(&choice.generation, end);
        let output = self.total(streams).completion;
        let fields =
            format!("\"delta\":{{\"stop_reason\":\"{reason}\"}},\"usage\":{{\"output_tokens\":{output}}}");
        event("message_delta", &fields, out);
        event("message_stop", "", out);
    }

    /// The message object; `content` is a JSON list.
    pub(crate) fn message(&self, content: &str, stop_reason: Option<&str>, usage: &TokenUsage) -> String {
        let stop_reason =
            stop_reason.map(|reason| format!(",\"stop_reason\":\"{reason}\"")).unwrap_or_default();
        format!(
            "{{\"id\":\"msg_{}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":{content},\"model\":{}{stop_reason},\"usage\":{}}}",
            self.id,
            quoted(&self.model),
            usage_json(usage)
        )
    }
}

/// An error response in Anthropic's shape.
pub(crate) fn error(status: StatusCode, kind: &str, message: &str) -> HttpResponse {
    with_type(status, "application/json", error_json(kind, message).into())
}

/// An error inside a stream that was opened with 200: a message that begins without input tokens, then the error.
pub(crate) fn stream_error(writer: &EventWriter, kind: &str, message: &str) -> HttpResponse {
    let mut events = Vec::new();
    let start = writer.message("[]", None, &TokenUsage::default());
    event("message_start", &format!("\"message\":{start}"), &mut events);
    events.extend_from_slice(format!("event: error\ndata: {}\n\n", error_json(kind, message)).as_bytes());
    event("message_stop", "", &mut events);
    with_type(StatusCode::OK, "text/event-stream; charset=utf-8", events.into())
}

fn error_json(kind: &str, message: &str) -> String {
    format!("{{\"type\":\"error\",\"error\":{{\"type\":\"{kind}\",\"message\":{}}}}}", quoted(message))
}

/// Why the message ended, in Anthropic's words.
pub(crate) fn stop_reason(generation: &Generation, end: &GenerationEnd) -> &'static str {
    match openai_finish(generation, end).0 {
        "\"length\"" => "max_tokens",
        _ => "end_turn",
    }
}

/// `usage` of a message. Cached tokens appear as on a server with `--enable-cache-report`; they are no input tokens.
fn usage_json(usage: &TokenUsage) -> String {
    let cached = match usage.cached {
        0 => String::new(),
        cached => format!(",\"cache_read_input_tokens\":{cached}"),
    };
    format!(
        "{{\"input_tokens\":{},\"output_tokens\":{}{cached}}}",
        usage.prompt - usage.cached,
        usage.completion
    )
}

fn event(kind: &str, fields: &str, out: &mut Vec<u8>) {
    let comma = if fields.is_empty() { "" } else { "," };
    out.extend_from_slice(
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{comma}{fields}}}\n\n").as_bytes(),
    );
}
