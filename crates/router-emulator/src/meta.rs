//! `meta_info` of `/generate`, field for field and in the order real servers write it.

use std::fmt::Write as _;

use router_core::Time;

use crate::ask::{Ask, Ending};
use crate::clock::Clock;
use crate::config::SglangVersion;
use crate::outlet::{End, First, Seen};
use crate::text;

/// How an answer reaches the client.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Delivery {
    Whole,
    /// Streamed, the first chunk at this time.
    Streamed {
        first_at: Option<Time>,
    },
}

/// Everything `meta_info` is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) clock: Clock,
    pub(crate) flavour: SglangVersion,
    pub(crate) submitted_at: Time,
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// `finish_reason` of the OpenAI routes, quoted, and `matched_stop` beside it.
pub(crate) fn openai_finish(ask: &Ask, end: &End) -> (&'static str, String) {
    match (end, &ask.ending) {
        (End::Aborted(_) | End::Unscheduled(_), _) => ("\"abort\"", "null".to_owned()),
        (_, Ending::Length) => ("\"length\"", "null".to_owned()),
        (_, Ending::Eos) => ("\"stop\"", text::EOS.to_string()),
        (_, Ending::Text(stop)) => ("\"stop\"", quoted(stop)),
    }
}

impl Facts<'_> {
    fn unix(&self, time: Time) -> f64 {
        self.clock.unix(time)
    }

    /// The data-parallel rank, as JSON.
    fn rank(&self) -> String {
        self.ask.rank.map_or_else(|| "null".to_owned(), |rank| rank.to_string())
    }

    /// The object's start up to the value of `completion_tokens`, for a request that was scheduled.
    pub(crate) fn head(&self, finish_reason: &str, first: &First, retractions: u32) -> String {
        let (rid, mut prompt) = (quoted(&self.ask.rid), self.ask.prompt_tokens.to_string());
        if let Some(logprobs) = &self.ask.input_logprobs {
            let _ = write!(prompt, ",\"input_token_logprobs\":{logprobs}");
        }
        match self.flavour {
            SglangVersion::Classic => format!(
                "{{\"id\":{rid},\"finish_reason\":{finish_reason},\"prompt_tokens\":{prompt},\"completion_tokens\":"
            ),
            SglangVersion::Stock => {
                let scheduled = first.times.scheduled_at.unwrap_or(first.times.queued_at);
                let queue_time = scheduled.secs_since(first.times.queued_at);
                let prefilled = first.times.first_token_at.unwrap_or(first.times.finished_at);
                let (forward, prefilled) = (self.unix(scheduled), self.unix(prefilled));
                format!(
                    "{{\"id\":{rid},\"finish_reason\":{finish_reason},\"prompt_tokens\":{prompt},\
                     \"weight_version\":\"default\",\"num_retractions\":{retractions},\"storage_prefetch_wait\":0.0,\
                     \"storage_staging_wait\":0.0,\"forward_entry_time\":{forward:?},\
                     \"prefill_finished_time\":{prefilled:?},\"queue_time\":{queue_time:?},\
                     \"reasoning_tokens\":0,\"completion_tokens\":"
                )
            }
        }
    }

    /// What follows `completion_tokens` in a chunk that is neither first nor last.
    pub(crate) fn tail(&self, first: &First) -> String {
        let cached = first.cached_tokens;
        match self.flavour {
            SglangVersion::Classic => format!(",\"cached_tokens\":{cached}}}"),
            SglangVersion::Stock => format!(
                ",\"cached_tokens\":{cached},\"cached_tokens_details\":{},\"dp_rank\":{}}}",
                cached_details(cached),
                self.rank()
            ),
        }
    }

    /// The same in the first chunk of a stream, sent at `at`.
    pub(crate) fn first_tail(&self, first: &First, at: Time) -> String {
        let mut tail = self.tail(first);
        if self.flavour == SglangVersion::Stock {
            tail.pop();
            let _ = write!(tail, ",\"response_sent_to_client_ts\":{:?}}}", self.unix(at));
        }
        tail
    }

    /// The whole object of a finished or aborted generation.
    pub(crate) fn last(&self, seen: &Seen, end: &End, delivery: Delivery) -> String {
        let record = end.record();
        let first = seen.first.unwrap_or(First { times: record.times, cached_tokens: record.cached_tokens });
        match end {
            End::Unscheduled(_) => self.unscheduled(end),
            End::Finished(_) | End::Aborted(_) => {
                let mut out = self.head(&self.finish_reason(end), &first, record.retractions);
                let _ = write!(out, "{},\"cached_tokens\":{}", record.output_tokens, first.cached_tokens);
                match self.flavour {
                    SglangVersion::Classic => self.classic_end(&mut out, seen, end, delivery),
                    SglangVersion::Stock => self.stock_end(&mut out, &first, end, delivery),
                }
                out.push('}');
                out
            }
        }
    }

    /// A stream refused because the queue was full (0.5.23).
    pub(crate) fn queue_full(&self, now: Time) -> String {
        let reason = format!(
            "{{\"type\":\"abort\",\"status_code\":503,\"message\":{}}}",
            quoted(crate::errors::QUEUE_FULL)
        );
        self.without_tokens(&reason, now)
    }

    fn finish_reason(&self, end: &End) -> String {
        match (end, &self.ask.ending) {
            (End::Finished(record), Ending::Length) => {
                format!("{{\"type\":\"length\",\"length\":{}}}", record.output_tokens)
            }
            (End::Finished(_), Ending::Eos) => format!("{{\"type\":\"stop\",\"matched\":{}}}", text::EOS),
            (End::Finished(_), Ending::Text(stop)) => {
                format!("{{\"type\":\"stop\",\"matched\":{}}}", quoted(stop))
            }
            (End::Aborted(_), _) => {
                "{\"type\":\"abort\",\"message\":\"Aborted\",\"status_code\":null,\"err_type\":null}"
                    .to_owned()
            }
            (End::Unscheduled(_), _) => {
                let message = match self.flavour {
                    SglangVersion::Classic => "Abort before prefill",
                    SglangVersion::Stock => "Abort in waiting queue",
                };
                format!("{{\"type\":\"abort\",\"message\":\"{message}\"}}")
            }
        }
    }

    fn unscheduled(&self, end: &End) -> String {
        let reason = self.finish_reason(end);
        match self.flavour {
            SglangVersion::Classic => format!(
                "{{\"id\":{},\"finish_reason\":{reason},\"prompt_tokens\":0,\"completion_tokens\":0}}",
                quoted(&self.ask.rid)
            ),
            SglangVersion::Stock => self.without_tokens(&reason, end.record().times.finished_at),
        }
    }

    fn without_tokens(&self, reason: &str, now: Time) -> String {
        format!(
            "{{\"id\":{},\"finish_reason\":{reason},\"weight_version\":\"default\",\"e2e_latency\":{:?},\
             \"weight_versions\":[{{\"version\":\"default\",\"start\":0,\"end\":0}}],\"completion_tokens\":0,\
             \"response_sent_to_client_ts\":{:?}}}",
            quoted(&self.ask.rid),
            now.secs_since(self.submitted_at),
            self.unix(now)
        )
    }

    fn classic_end(&self, out: &mut String, seen: &Seen, end: &End, delivery: Delivery) {
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
            Delivery::Streamed { .. } => times.first_token_at,
            // The front of a real server sees an unstreamed answer's output every 50 tokens only.
            Delivery::Whole => seen.fiftieth_at,
        };
        if let Some(at) = first_token_at {
            let _ = write!(out, ",\"server_first_token_time\":{:?}", self.unix(at));
        }
    }

    fn stock_end(&self, out: &mut String, first: &First, end: &End, delivery: Delivery) {
        let record = end.record();
        let times = &record.times;
        let tokens = record.output_tokens;
        let prefilled = times.first_token_at.unwrap_or(times.finished_at);
        let _ = write!(
            out,
            ",\"weight_versions\":[{{\"version\":\"default\",\"start\":0,\"end\":{tokens}}}],\
             \"cached_tokens_details\":{},\"dp_rank\":{},\"e2e_latency\":{:?},\"request_received_ts\":{:?},\
             \"first_token_latency\":{:?},\"api_server_dispatch_finish_ts\":{:?}",
            cached_details(first.cached_tokens),
            self.rank(),
            times.finished_at.secs_since(self.submitted_at),
            self.unix(self.submitted_at),
            prefilled.secs_since(self.submitted_at),
            self.unix(times.queued_at),
        );
        if let Delivery::Streamed { first_at } = delivery {
            let at = first_at.unwrap_or(times.finished_at);
            let _ = write!(out, ",\"response_sent_to_client_ts\":{:?}", self.unix(at));
        }
        let _ = write!(out, ",\"request_finished_ts\":{:?}", self.unix(times.finished_at));
        let decoding = times.finished_at.secs_since(prefilled);
        if tokens > 1 && decoding > 0.0 {
            let _ = write!(out, ",\"decode_throughput\":{:?}", f64::from(tokens - 1) / decoding);
        }
        if delivery == Delivery::Whole {
            let _ = write!(out, ",\"response_sent_to_client_ts\":{:?}", self.unix(times.finished_at));
        }
    }
}

fn cached_details(cached: u32) -> String {
    if cached == 0 { "null".to_owned() } else { format!("{{\"device\":{cached},\"host\":0}}") }
}
