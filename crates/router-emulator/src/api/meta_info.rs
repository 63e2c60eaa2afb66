//! `meta_info` of `/generate`, field for field and in the order real servers write it.

use std::fmt::Write as _;

use router_core::Time;

use crate::api::generation::{Generation, StopReason};
use crate::api::text;
use crate::clock::Clock;
use crate::config::SglangVersion;
use crate::engine_task::progress::{FirstToken, GenerationEnd, GenerationProgress};

/// SGLang's message for a full queue.
pub(crate) const QUEUE_FULL: &str = "The request queue is full.";

/// How the response is delivered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum DeliveryMode {
    Whole,
    /// Streamed, the first chunk at this time.
    Streamed {
        first_at: Option<Time>,
    },
}

/// Everything `meta_info` is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetaInfo<'a> {
    pub(crate) generation: &'a Generation,
    pub(crate) clock: Clock,
    pub(crate) version: SglangVersion,
    /// The version of the weights, quoted.
    pub(crate) weight_version: &'a str,
    pub(crate) submitted_at: Time,
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// `finish_reason` of the OpenAI routes, quoted, and `matched_stop` beside it.
pub(crate) fn openai_finish(generation: &Generation, end: &GenerationEnd) -> (&'static str, String) {
    match (end, &generation.stop_reason) {
        (GenerationEnd::Aborted(_) | GenerationEnd::Unscheduled(_), _) => ("\"abort\"", "null".to_owned()),
        (_, StopReason::Length) => ("\"length\"", "null".to_owned()),
        (_, StopReason::Eos) => ("\"stop\"", text::EOS.to_string()),
        (_, StopReason::Text(stop)) => ("\"stop\"", quoted(stop)),
    }
}

impl MetaInfo<'_> {
    fn unix(&self, time: Time) -> f64 {
        self.clock.unix(time)
    }

    /// The data-parallel rank, as JSON.
    fn rank(&self) -> String {
        self.generation.rank.map_or_else(|| "null".to_owned(), |rank| rank.to_string())
    }

    /// The object's start up to the value of `completion_tokens`, for a request that was scheduled.
    pub(crate) fn head(&self, finish_reason: &str, first: &FirstToken, retractions: u32) -> String {
        let (rid, mut prompt) = (quoted(&self.generation.rid), self.generation.prompt_tokens.to_string());
        if let Some(logprobs) = &self.generation.input_logprobs {
            let _ = write!(prompt, ",\"input_token_logprobs\":{logprobs}");
        }
        match self.version {
            SglangVersion::Classic => format!(
                "{{\"id\":{rid},\"finish_reason\":{finish_reason},\"prompt_tokens\":{prompt},\"completion_tokens\":"
            ),
            SglangVersion::Stock => {
                let scheduled = first.times.scheduled_at.unwrap_or(first.times.queued_at);
                let weights = self.weight_version;
                let queue_time = scheduled.secs_since(first.times.queued_at);
                let prefilled = first.times.first_token_at.unwrap_or(first.times.finished_at);
                let (forward, prefilled) = (self.unix(scheduled), self.unix(prefilled));
                format!(
                    "{{\"id\":{rid},\"finish_reason\":{finish_reason},\"prompt_tokens\":{prompt},\
                     \"weight_version\":{weights},\"num_retractions\":{retractions},\"storage_prefetch_wait\":0.0,\
                     \"storage_staging_wait\":0.0,\"forward_entry_time\":{forward:?},\
                     \"prefill_finished_time\":{prefilled:?},\"queue_time\":{queue_time:?},\
                     \"reasoning_tokens\":0,\"completion_tokens\":"
                )
            }
        }
    }

    /// What follows `completion_tokens` in a chunk that is neither first nor last.
    pub(crate) fn tail(&self, first: &FirstToken) -> String {
        let cached = first.cached_tokens;
        match self.version {
            SglangVersion::Classic => format!(",\"cached_tokens\":{cached}}}"),
            SglangVersion::Stock => format!(
                ",\"cached_tokens\":{cached},\"cached_tokens_details\":{},\"dp_rank\":{}}}",
                cached_details(cached),
                self.rank()
            ),
        }
    }

    /// `tail` of the first chunk of a stream, sent at `at`.
    pub(crate) fn first_tail(&self, first: &FirstToken, at: Time) -> String {
        let mut tail = self.tail(first);
        if self.version == SglangVersion::Stock {
            tail.pop();
            let _ = write!(tail, ",\"response_sent_to_client_ts\":{:?}}}", self.unix(at));
        }
        tail
    }

    /// The whole object of a finished or aborted generation.
    pub(crate) fn last(
        &self,
        progress: &GenerationProgress,
        end: &GenerationEnd,
        delivery: DeliveryMode,
    ) -> String {
        let record = end.record();
        let first =
            progress.first.unwrap_or(FirstToken { times: record.times, cached_tokens: record.cached_tokens });
        match end {
            GenerationEnd::Unscheduled(_) => self.unscheduled(end),
            GenerationEnd::Finished(_) | GenerationEnd::Aborted(_) => {
                let mut out = self.head(&self.finish_reason(end), &first, record.retractions);
                let _ = write!(out, "{},\"cached_tokens\":{}", record.output_tokens, first.cached_tokens);
                match self.version {
                    SglangVersion::Classic => self.classic_end(&mut out, progress, end, delivery),
                    SglangVersion::Stock => self.stock_end(&mut out, &first, end, delivery),
                }
                out.push('}');
                out
            }
        }
    }

    /// A stream refused because the queue was full (0.5.23).
    pub(crate) fn queue_full(&self, now: Time) -> String {
        let reason = format!("{{\"type\":\"abort\",\"status_code\":503,\"message\":{}}}", quoted(QUEUE_FULL));
        self.without_tokens(&reason, now)
    }

    fn finish_reason(&self, end: &GenerationEnd) -> String {
        match (end, &self.generation.stop_reason) {
            (GenerationEnd::Finished(record), StopReason::Length) => {
                format!("{{\"type\":\"length\",\"length\":{}}}", record.output_tokens)
            }
            (GenerationEnd::Finished(_), StopReason::Eos) => {
                format!("{{\"type\":\"stop\",\"matched\":{}}}", text::EOS)
            }
            (GenerationEnd::Finished(_), StopReason::Text(stop)) => {
                format!("{{\"type\":\"stop\",\"matched\":{}}}", quoted(stop))
            }
            (GenerationEnd::Aborted(_), _) => {
                "{\"type\":\"abort\",\"message\":\"Aborted\",\"status_code\":null,\"err_type\":null}"
                    .to_owned()
            }
            (GenerationEnd::Unscheduled(_), _) => {
                let message = match self.version {
                    SglangVersion::Classic => "Abort before prefill",
                    SglangVersion::Stock => "Abort in waiting queue",
                };
                format!("{{\"type\":\"abort\",\"message\":\"{message}\"}}")
            }
        }
    }

    fn unscheduled(&self, end: &GenerationEnd) -> String {
        let reason = self.finish_reason(end);
        match self.version {
            SglangVersion::Classic => format!(
                "{{\"id\":{},\"finish_reason\":{reason},\"prompt_tokens\":0,\"completion_tokens\":0}}",
                quoted(&self.generation.rid)
            ),
            SglangVersion::Stock => self.without_tokens(&reason, end.record().times.finished_at),
        }
    }

    fn without_tokens(&self, reason: &str, now: Time) -> String {
        let weights = self.weight_version;
        format!(
            "{{\"id\":{},\"finish_reason\":{reason},\"weight_version\":{weights},\"e2e_latency\":{:?},\
             \"weight_versions\":[{{\"version\":{weights},\"start\":0,\"end\":0}}],\"completion_tokens\":0,\
             \"response_sent_to_client_ts\":{:?}}}",
            quoted(&self.generation.rid),
            now.secs_since(self.submitted_at),
            self.unix(now)
        )
    }

    fn classic_end(
        &self,
        out: &mut String,
        progress: &GenerationProgress,
        end: &GenerationEnd,
        delivery: DeliveryMode,
    ) {
        let record = end.record();
        let times = &record.times;
        let _ = write!(
            out,
            ",\"e2e_latency\":{:?},\"queue_length\":{},\"queue_time_start\":{:?},\"queue_time_end\":{:?},\
             \"server_created_time\":{:?}",
            times.finished_at.secs_since(self.submitted_at),
            record.waiting,
            self.unix(times.queued_at),
            self.unix(times.scheduled_at.unwrap_or(times.queued_at)),
            self.unix(self.submitted_at),
        );
        let first_token_at = match delivery {
            DeliveryMode::Streamed { .. } => times.first_token_at,
            // The HTTP process of a real server gets unstreamed output every 50 tokens only.
            DeliveryMode::Whole => progress.fiftieth_at,
        };
        if let Some(at) = first_token_at {
            let _ = write!(out, ",\"server_first_token_time\":{:?}", self.unix(at));
        }
    }

    fn stock_end(&self, out: &mut String, first: &FirstToken, end: &GenerationEnd, delivery: DeliveryMode) {
        let record = end.record();
        let times = &record.times;
        let (tokens, weights) = (record.output_tokens, self.weight_version);
        let prefilled = times.first_token_at.unwrap_or(times.finished_at);
        let _ = write!(
            out,
            ",\"weight_versions\":[{{\"version\":{weights},\"start\":0,\"end\":{tokens}}}],\
             \"cached_tokens_details\":{},\"dp_rank\":{},\"e2e_latency\":{:?},\"request_received_ts\":{:?},\
             \"first_token_latency\":{:?},\"api_server_dispatch_finish_ts\":{:?}",
            cached_details(first.cached_tokens),
            self.rank(),
            times.finished_at.secs_since(self.submitted_at),
            self.unix(self.submitted_at),
            prefilled.secs_since(self.submitted_at),
            self.unix(times.queued_at),
        );
        if let DeliveryMode::Streamed { first_at } = delivery {
            let at = first_at.unwrap_or(times.finished_at);
            let _ = write!(out, ",\"response_sent_to_client_ts\":{:?}", self.unix(at));
        }
        let _ = write!(out, ",\"request_finished_ts\":{:?}", self.unix(times.finished_at));
        let decoding = times.finished_at.secs_since(prefilled);
        if tokens > 1 && decoding > 0.0 {
            let _ = write!(out, ",\"decode_throughput\":{:?}", f64::from(tokens - 1) / decoding);
        }
        if delivery == DeliveryMode::Whole {
            let _ = write!(out, ",\"response_sent_to_client_ts\":{:?}", self.unix(times.finished_at));
        }
    }
}

fn cached_details(cached: u32) -> String {
    if cached == 0 { "null".to_owned() } else { format!("{{\"device\":{cached},\"host\":0}}") }
}
