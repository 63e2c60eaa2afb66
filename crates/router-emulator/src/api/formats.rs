//! The events of a streamed response, in the format of the API.
//!
//! What does not change between two events of a stream is rendered once; an event is then a few copies.

use std::fmt::Write as _;

use crate::api::generation::Generation;
use crate::api::meta_info::{DeliveryMode, MetaInfo, openai_finish, quoted};
use crate::api::request::UsageReporting;
use crate::api::text;
use crate::clock::Clock;
use crate::config::SglangVersion;
use crate::engine_task::progress::{GenerationEnd, GenerationHandle, GenerationProgress};
use router_core::Time;

/// The API format of a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ApiFormat {
    /// `/generate` with one prompt.
    Generate,
    /// `/generate` with several; chunks carry their index.
    GenerateBatch,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Messages,
}

/// One generation within a streamed response.
#[derive(Debug)]
pub(crate) struct ChoiceStream {
    pub(crate) generation: Generation,
    pub(crate) handle: GenerationHandle,
    index: usize,
    pub(super) sent: u32,
    pub(super) end: Option<GenerationEnd>,
    first_at: Option<Time>,
    /// Text before and after what changes, once known.
    frame: Option<(String, String)>,
    /// Everything sent so far, for routes that repeat it.
    text: Vec<u8>,
    ids: String,
}

impl ChoiceStream {
    pub(crate) fn new(index: usize, generation: Generation, handle: GenerationHandle) -> Self {
        Self {
            generation,
            handle,
            index,
            sent: 0,
            end: None,
            first_at: None,
            frame: None,
            text: Vec::new(),
            ids: String::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// Writes the events of one response.
#[derive(Clone, Debug)]
pub(crate) struct EventWriter {
    pub(crate) api_format: ApiFormat,
    pub(crate) version: SglangVersion,
    /// The version of the weights, quoted.
    pub(crate) weight_version: String,
    pub(crate) clock: Clock,
    /// Id of the response.
    pub(crate) id: String,
    /// Model name as the client gave it.
    pub(crate) model: String,
    /// Unix seconds of the response.
    pub(crate) created: u64,
    pub(crate) usage: UsageReporting,
    /// Choices per prompt; the prompt's tokens count once.
    pub(crate) choices: usize,
    /// Events sent, where the route numbers them.
    pub(crate) sequence: u32,
}

/// `usage` of an OpenAI response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct TokenUsage {
    pub(crate) prompt: u32,
    pub(crate) completion: u32,
    pub(crate) cached: u32,
}

impl TokenUsage {
    /// As JSON. Cached tokens appear as on a server with `--enable-cache-report`.
    pub(crate) fn json(&self, version: SglangVersion) -> String {
        let details = match self.cached {
            0 => "null".to_owned(),
            cached => format!("{{\"cached_tokens\":{cached}}}"),
        };
        let extra = match version {
            SglangVersion::Classic => "",
            SglangVersion::Stock => ",\"reasoning_tokens\":0,\"completion_tokens_details\":null",
        };
        let (prompt, completion) = (self.prompt, self.completion);
        format!(
            "{{\"prompt_tokens\":{prompt},\"total_tokens\":{},\"completion_tokens\":{completion},\
             \"prompt_tokens_details\":{details}{extra}}}",
            prompt + completion
        )
    }
}

impl TokenUsage {
    /// JSON without nulls, as at the end of a `/v1/completions` stream.
    fn sparse_json(&self, version: SglangVersion) -> String {
        self.json(version)
            .replace(",\"prompt_tokens_details\":null", "")
            .replace(",\"completion_tokens_details\":null", "")
    }
}

impl EventWriter {
    /// Writes what is new in a choice.
    pub(crate) fn write(
        &mut self,
        choice: &mut ChoiceStream,
        progress: &GenerationProgress,
        out: &mut Vec<u8>,
    ) {
        let fresh = progress.generated > choice.sent;
        if !fresh && progress.end.is_none() {
            return;
        }
        match self.api_format {
            ApiFormat::Generate | ApiFormat::GenerateBatch => self.write_generate(choice, progress, out),
            ApiFormat::Chat => self.write_chat(choice, progress, out),
            ApiFormat::Completions => self.write_completions(choice, progress, out),
            ApiFormat::Responses => self.write_responses(choice, progress, out),
            ApiFormat::Messages => self.write_messages(choice, progress, out),
        }
        choice.sent = progress.generated;
        choice.end = progress.end;
    }

    /// Writes what follows the last choice's end.
    pub(crate) fn write_end(&mut self, streams: &[ChoiceStream], out: &mut Vec<u8>) {
        match self.api_format {
            ApiFormat::Responses => return self.write_responses_end(streams, out),
            ApiFormat::Messages => return self.write_messages_end(streams, out),
            _ => {}
        }
        if self.usage != UsageReporting::Never
            && matches!(self.api_format, ApiFormat::Chat | ApiFormat::Completions)
        {
            let total = self.total(streams);
            let usage = match self.api_format {
                ApiFormat::Completions => total.sparse_json(self.version),
                _ => total.json(self.version),
            };
            push(out, &[&self.opening(), "],\"usage\":", &usage, "}\n\n"]);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Usage of the whole response.
    pub(super) fn total(&self, streams: &[ChoiceStream]) -> TokenUsage {
        let mut total = TokenUsage::default();
        for (i, choice) in streams.iter().enumerate() {
            let Some(end) = &choice.end else { continue };
            if i % self.choices.max(1) == 0 && !matches!(end, GenerationEnd::Unscheduled(_)) {
                total.prompt += choice.generation.prompt_tokens;
                total.cached += end.record().cached_tokens;
            }
            total.completion += end.record().output_tokens;
        }
        total
    }

    fn write_generate(&self, choice: &mut ChoiceStream, progress: &GenerationProgress, out: &mut Vec<u8>) {
        let facts = MetaInfo {
            generation: &choice.generation,
            clock: self.clock,
            version: self.version,
            weight_version: &self.weight_version,
            submitted_at: choice.handle.submitted_at(),
        };
        choice.generation.push_text(choice.sent, progress.generated, &mut choice.text);
        if self.version == SglangVersion::Stock {
            for position in choice.sent..progress.generated {
                let comma = if position == 0 { "" } else { "," };
                let _ = write!(choice.ids, "{comma}{}", text::word_id(choice.generation.seed, position));
            }
        }
        out.extend_from_slice(b"data: {\"text\":\"");
        out.extend_from_slice(&choice.text);
        match self.version {
            SglangVersion::Classic => out.extend_from_slice(b"\",\"meta_info\":"),
            SglangVersion::Stock => push(out, &["\",\"output_ids\":[", &choice.ids, "],\"meta_info\":"]),
        }
        match (&progress.end, &progress.first) {
            (Some(end), _) => {
                let delivery = DeliveryMode::Streamed { first_at: choice.first_at };
                out.extend_from_slice(facts.last(progress, end, delivery).as_bytes());
            }
            (None, Some(first)) => {
                let (head, tail) =
                    choice.frame.get_or_insert_with(|| (facts.head("null", first, 0), facts.tail(first)));
                push(out, &[head]);
                push_number(out, progress.generated);
                if choice.first_at.is_none() {
                    let now = self.clock.now();
                    choice.first_at = Some(now);
                    out.extend_from_slice(facts.first_tail(first, now).as_bytes());
                } else {
                    out.extend_from_slice(tail.as_bytes());
                }
            }
            // The driver reports the first token before any other.
            (None, None) => out.extend_from_slice(b"null"),
        }
        if self.api_format == ApiFormat::GenerateBatch {
            out.extend_from_slice(b",\"index\":");
            push_number(out, choice.index as u32);
        }
        out.extend_from_slice(b"}\n\n");
    }

    /// `data: {"id":...,"choices":[`
    fn opening(&self) -> String {
        let object =
            if self.api_format == ApiFormat::Chat { "chat.completion.chunk" } else { "text_completion" };
        format!(
            "data: {{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{},\"choices\":[",
            quoted(&self.id),
            self.created,
            quoted(&self.model)
        )
    }

    fn write_chat(&self, choice: &mut ChoiceStream, progress: &GenerationProgress, out: &mut Vec<u8>) {
        let classic = self.version == SglangVersion::Classic;
        if choice.frame.is_none() {
            let opening = format!("{}{{\"index\":{},\"delta\":{{", self.opening(), choice.index);
            let (role, before, after) = if classic {
                (
                    "\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":null,\"tool_calls\":null",
                    "\"role\":null,\"content\":\"",
                    "\",\"reasoning_content\":null,\"tool_calls\":null",
                )
            } else {
                (
                    "\"reasoning_content\":null,\"role\":\"assistant\",\"content\":\"\"",
                    "\"reasoning_content\":null,\"content\":\"",
                    "\"",
                )
            };
            push(out, &[&opening, role, NO_FINISH]);
            self.close_chunk(None, out);
            choice.frame = Some((format!("{opening}{before}"), format!("{after}{NO_FINISH}")));
        }
        let Some((before, after)) = &choice.frame else { return };
        if progress.generated > choice.sent {
            push(out, &[before]);
            choice.generation.push_text(choice.sent, progress.generated, out);
            push(out, &[after]);
            self.close_chunk(Some((choice, progress)), out);
        }
        if let Some(end) = &progress.end {
            let delta = if classic {
                "\"role\":null,\"content\":null,\"reasoning_content\":null,\"tool_calls\":null"
            } else {
                "\"reasoning_content\":null"
            };
            let (reason, matched) = openai_finish(&choice.generation, end);
            let opening = format!("{}{{\"index\":{},\"delta\":{{{delta}}}", self.opening(), choice.index);
            push(
                out,
                &[&opening, ",\"logprobs\":null,\"finish_reason\":", reason, ",\"matched_stop\":", &matched],
            );
            out.extend_from_slice(b"}]");
            self.close_chunk(None, out);
        }
    }

    fn write_completions(&self, choice: &mut ChoiceStream, progress: &GenerationProgress, out: &mut Vec<u8>) {
        let (before, after) = choice.frame.get_or_insert_with(|| {
            let before = format!("{}{{\"index\":{},\"text\":\"", self.opening(), choice.index);
            (before, "\",\"logprobs\":null,\"finish_reason\":".to_owned())
        });
        push(out, &[before]);
        choice.generation.push_text(choice.sent, progress.generated, out);
        let (reason, matched) = match &progress.end {
            Some(end) => openai_finish(&choice.generation, end),
            None => ("null", "null".to_owned()),
        };
        push(out, &[after, reason, ",\"matched_stop\":", &matched, "}]"]);
        self.close_chunk(Some((choice, progress)), out);
    }

    /// Ends a chunk after its `choices`, with usage where the client wants it in every chunk.
    fn close_chunk(&self, progress: Option<(&ChoiceStream, &GenerationProgress)>, out: &mut Vec<u8>) {
        match progress {
            Some((choice, progress)) if self.usage == UsageReporting::Every => {
                let cached = progress.first.map_or(0, |f| f.cached_tokens);
                let usage = TokenUsage {
                    prompt: choice.generation.prompt_tokens,
                    completion: progress.generated,
                    cached,
                };
                push(out, &[",\"usage\":", &usage.json(self.version), "}\n\n"]);
            }
            _ if self.version == SglangVersion::Classic || self.api_format == ApiFormat::Completions => {
                out.extend_from_slice(b",\"usage\":null}\n\n");
            }
            _ => out.extend_from_slice(b"}\n\n"),
        }
    }

    fn write_responses(
        &mut self,
        choice: &mut ChoiceStream,
        progress: &GenerationProgress,
        out: &mut Vec<u8>,
    ) {
        let item = format!("msg_{}", self.id);
        if choice.sent == 0 {
            let response = self.response_object("in_progress", "[]", "null");
            self.event("response.created", &format!("\"response\":{response}"), out);
            self.event("response.in_progress", &format!("\"response\":{response}"), out);
            let added = format!(
                "\"output_index\":0,\"item\":{{\"id\":\"{item}\",\"content\":[],\"role\":\"assistant\",\
                 \"status\":\"in_progress\",\"type\":\"message\"}}"
            );
            self.event("response.output_item.added", &added, out);
            let part = format!(
                "\"item_id\":\"{item}\",\"output_index\":0,\"content_index\":0,\
                 \"part\":{{\"annotations\":[],\"text\":\"\",\"type\":\"output_text\",\"logprobs\":null}}"
            );
            self.event("response.content_part.added", &part, out);
        }
        if progress.generated > choice.sent {
            let mut delta = Vec::new();
            choice.generation.push_text(choice.sent, progress.generated, &mut delta);
            let delta = String::from_utf8(delta).unwrap_or_default();
            let fields = format!(
                "\"item_id\":\"{item}\",\"output_index\":0,\"content_index\":0,\"delta\":\"{delta}\",\"logprobs\":[]"
            );
            self.event("response.output_text.delta", &fields, out);
        }
    }

    fn write_responses_end(&mut self, streams: &[ChoiceStream], out: &mut Vec<u8>) {
        let Some(choice) = streams.first() else { return };
        let Some(end) = &choice.end else { return };
        let item = format!("msg_{}", self.id);
        let text = quoted(&choice.generation.text(end.record().output_tokens));
        let place = format!("\"item_id\":\"{item}\",\"output_index\":0,\"content_index\":0");
        self.event("response.output_text.done", &format!("{place},\"text\":{text},\"logprobs\":[]"), out);
        let part =
            format!("{{\"annotations\":[],\"text\":{text},\"type\":\"output_text\",\"logprobs\":null}}");
        self.event("response.content_part.done", &format!("{place},\"part\":{part}"), out);
        let message = response_message(&item, &text);
        self.event("response.output_item.done", &format!("\"output_index\":0,\"item\":{message}"), out);
        let usage = response_usage(&self.total(streams));
        let (status, kind) = response_status(&choice.generation, end);
        let response = self.response_object(status, &format!("[{message}]"), &usage);
        self.event(kind, &format!("\"response\":{response}"), out);
    }

    fn event(&mut self, kind: &str, fields: &str, out: &mut Vec<u8>) {
        let number = self.sequence.to_string();
        push(
            out,
            &["event: ", kind, "\ndata: {\"type\":\"", kind, "\",\"sequence_number\":", &number, ",", fields],
        );
        out.extend_from_slice(b"}\n\n");
        self.sequence += 1;
    }

    /// The `response` object of `/v1/responses`; `output` and `usage` are JSON.
    pub(crate) fn response_object(&self, status: &str, output: &str, usage: &str) -> String {
        let reason = if status == "incomplete" { "{\"reason\":\"max_output_tokens\"}" } else { "null" };
        format!(
            "{{\"id\":\"resp_{}\",\"object\":\"response\",\"created_at\":{},\"model\":{},\"output\":{output},\
             \"status\":\"{status}\",\"usage\":{usage},\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\
             \"tools\":[],\"error\":null,\"incomplete_details\":{reason},\"instructions\":null,\
             \"max_output_tokens\":null,\"previous_response_id\":null,\
             \"reasoning\":{{\"effort\":null,\"summary\":null}},\"store\":true,\"temperature\":null,\
             \"text\":{{\"format\":{{\"type\":\"text\"}}}},\"top_p\":null,\"truncation\":\"disabled\",\
             \"user\":null,\"metadata\":{{}}}}",
            self.id,
            self.created,
            quoted(&self.model)
        )
    }
}

/// The output item of `/v1/responses`; `text` is a JSON string.
pub(crate) fn response_message(item: &str, text: &str) -> String {
    format!(
        "{{\"id\":\"{item}\",\"content\":[{{\"annotations\":[],\"text\":{text},\"type\":\"output_text\",\
         \"logprobs\":null}}],\"role\":\"assistant\",\"status\":\"completed\",\"type\":\"message\",\
         \"phase\":\"final_answer\"}}"
    )
}

/// `usage` of `/v1/responses`.
pub(crate) fn response_usage(usage: &TokenUsage) -> String {
    let (input, output) = (usage.prompt, usage.completion);
    format!(
        "{{\"input_tokens\":{input},\"input_tokens_details\":{{\"cached_tokens\":{},\"cache_write_tokens\":0}},\
         \"output_tokens\":{output},\"output_tokens_details\":{{\"reasoning_tokens\":0}},\"total_tokens\":{}}}",
        usage.cached,
        input + output
    )
}

/// Status of a finished response and the event that says so.
pub(crate) fn response_status(generation: &Generation, end: &GenerationEnd) -> (&'static str, &'static str) {
    match openai_finish(generation, end).0 {
        "\"stop\"" => ("completed", "response.completed"),
        "\"abort\"" => ("cancelled", "response.cancelled"),
        _ => ("incomplete", "response.incomplete"),
    }
}

const NO_FINISH: &str = "},\"logprobs\":null,\"finish_reason\":null,\"matched_stop\":null}]";

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn push_number(out: &mut Vec<u8>, n: u32) {
    let mut digits = [0u8; 10];
    let (mut n, mut at) = (n, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
