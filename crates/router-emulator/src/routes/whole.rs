//! Bodies of responses that are not streamed.

use crate::api::formats::{
    ApiFormat, EventWriter, TokenUsage, response_message, response_status, response_usage,
};
use crate::api::generation::Generation;
use crate::api::messages::stop_reason;
use crate::api::meta_info::{DeliveryMode, MetaInfo, openai_finish, quoted};
use crate::config::SglangVersion;
use crate::engine_task::progress::{GenerationEnd, GenerationHandle, GenerationProgress};
use crate::state::ServerState;

/// One finished generation of a response that is not streamed.
pub(crate) struct FinishedGeneration<'a> {
    pub(crate) generation: &'a Generation,
    pub(crate) handle: &'a GenerationHandle,
    pub(crate) progress: GenerationProgress,
    pub(crate) end: GenerationEnd,
}

impl FinishedGeneration<'_> {
    fn text(&self) -> String {
        quoted(&self.generation.text(self.end.record().output_tokens))
    }
}

/// The body of a whole response.
pub(crate) fn whole_generate(
    server: &ServerState,
    api_format: ApiFormat,
    done: &[FinishedGeneration<'_>],
) -> String {
    let version = server.config().version;
    let weight_version = server.control.quoted_weight_version();
    let items: Vec<String> = done
        .iter()
        .map(|d| {
            let facts = MetaInfo {
                generation: d.generation,
                clock: server.driver().clock(),
                version,
                weight_version: &weight_version,
                submitted_at: d.handle.submitted_at(),
            };
            let meta = facts.last(&d.progress, &d.end, DeliveryMode::Whole);
            let n = d.end.record().output_tokens;
            match version {
                SglangVersion::Classic => format!("{{\"text\":{},\"meta_info\":{meta}}}", d.text()),
                SglangVersion::Stock => {
                    let ids: Vec<u32> =
                        (0..n).map(|i| crate::api::text::word_id(d.generation.seed, i)).collect();
                    let ids = serde_json::to_string(&ids).unwrap_or_default();
                    format!("{{\"text\":{},\"output_ids\":{ids},\"meta_info\":{meta}}}", d.text())
                }
            }
        })
        .collect();
    match api_format {
        ApiFormat::GenerateBatch => format!("[{}]", items.join(",")),
        _ => items.concat(),
    }
}

fn usage_of(choices: usize, done: &[FinishedGeneration<'_>]) -> TokenUsage {
    let mut usage = TokenUsage::default();
    for (i, d) in done.iter().enumerate() {
        if i % choices.max(1) == 0 && !matches!(d.end, GenerationEnd::Unscheduled(_)) {
            usage.prompt += d.generation.prompt_tokens;
            usage.cached += d.end.record().cached_tokens;
        }
        usage.completion += d.end.record().output_tokens;
    }
    usage
}

/// The body of a whole response.
pub(crate) fn whole_openai(writer: &EventWriter, done: &[FinishedGeneration<'_>]) -> String {
    let choices: Vec<String> = done
        .iter()
        .enumerate()
        .map(|(i, d)| {
            let (reason, matched) = openai_finish(d.generation, &d.end);
            let tail = format!("\"logprobs\":null,\"finish_reason\":{reason},\"matched_stop\":{matched}}}");
            match (writer.api_format, writer.version) {
                (ApiFormat::Completions, _) => format!("{{\"index\":{i},\"text\":{},{tail}", d.text()),
                (_, version) => {
                    let tools = if version == SglangVersion::Classic { ",\"tool_calls\":null" } else { "" };
                    format!(
                        "{{\"index\":{i},\"message\":{{\"role\":\"assistant\",\"content\":{},\
                         \"reasoning_content\":null{tools}}},{tail}",
                        d.text()
                    )
                }
            }
        })
        .collect();
    let object = if writer.api_format == ApiFormat::Chat { "chat.completion" } else { "text_completion" };
    let longest = done.iter().map(|d| d.end.record().output_tokens).max().unwrap_or(0);
    let metadata = match writer.version {
        SglangVersion::Classic => String::new(),
        SglangVersion::Stock => format!(
            ",\"metadata\":{{\"weight_version\":{0},\"weight_versions\":[{{\"version\":{0},\
             \"start\":0,\"end\":{longest}}}]}}",
            writer.weight_version
        ),
    };
    format!(
        "{{\"id\":{},\"object\":\"{object}\",\"created\":{},\"model\":{},\"choices\":[{}],\"usage\":{}{metadata}}}",
        quoted(&writer.id),
        writer.created,
        quoted(&writer.model),
        choices.join(","),
        usage_of(writer.choices, done).json(writer.version)
    )
}

/// The body of a whole response.
pub(crate) fn whole_response(writer: &EventWriter, done: &[FinishedGeneration<'_>]) -> String {
    let Some(first) = done.first() else { return "{}".to_owned() };
    let message = response_message(&format!("msg_{}", writer.id), &first.text());
    let (status, _) = response_status(first.generation, &first.end);
    writer.response_object(status, &format!("[{message}]"), &response_usage(&usage_of(1, done)))
}

/// The message of `/v1/messages`.
pub(crate) fn whole_message(writer: &EventWriter, done: &[FinishedGeneration<'_>]) -> String {
    let Some(first) = done.first() else { return "{}".to_owned() };
    let content = format!("[{{\"type\":\"text\",\"text\":{}}}]", first.text());
    writer.message(&content, Some(stop_reason(first.generation, &first.end)), &usage_of(1, done))
}
