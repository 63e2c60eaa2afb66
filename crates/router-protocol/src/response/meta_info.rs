//! SGLang's `meta_info`: token counts, time stamps and queue lengths in a native response.
//!
//! Two families of fields exist. The classic ones (`queue_length`, `queue_time_start`, `queue_time_end`,
//! `server_created_time`, `server_first_token_time`) are sent by servers patched for performance-aware routing; the
//! stock ones come from SGLang 0.5.5 on, most of them only with `--enable-metrics`. Where both are there, the
//! classic ones win.

use router_core::{ServerTiming, TokenUsage};

use super::finish::FinishState;
use crate::json::{JsonReader, Parse};
use crate::load::LoadFigures;

/// Whether the response came as a stream. The engine stamps the first token of a response that is not streamed when its
/// first *flush* passes, up to 50 tokens late, so such a stamp is no time to first token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResponseForm {
    Streamed,
    Whole,
}

/// The fields of one `meta_info` the router uses.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct MetaInfo {
    pub(super) usage: TokenUsage,
    pub(super) finish: FinishState,
    waiting: Option<u32>,
    running: Option<u32>,
    created: Option<f64>,
    queue_start: Option<f64>,
    queue_end: Option<f64>,
    queue_time: Option<f64>,
    e2e_latency: Option<f64>,
    first: FirstTokenStamps,
    received: Option<f64>,
    forward_entry: Option<f64>,
}

/// The stamps from which the time of the first token follows, best first.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct FirstTokenStamps {
    /// `server_first_token_time`: Unix seconds, stamped by the tokenizer manager.
    classic: Option<f64>,
    /// `prefill_finished_time` (0.5.23): Unix seconds, stamped by the scheduler, so right for whole responses as well.
    prefill: Option<f64>,
    /// `first_token_latency` (0.5.23): seconds since arrival.
    latency: Option<f64>,
    /// `prefill_finished_ts` (0.5.5): Unix seconds, first output seen by the tokenizer manager.
    first_output: Option<f64>,
    /// `response_sent_to_client_ts`: Unix seconds; in a stream, when the first chunk went out.
    sent: Option<f64>,
}

impl MetaInfo {
    /// Consumes a value into `meta`; `None` when it is not an object.
    pub(super) fn read(r: &mut JsonReader<'_>, meta: &mut Option<Self>) -> Parse<()> {
        *meta = None;
        if r.peek()? != b'{' {
            return r.skip();
        }
        let meta = meta.insert(Self::default());
        r.fields(|key, r| meta.member(key, r))
    }

    #[inline]
    fn member(&mut self, key: &[u8], r: &mut JsonReader<'_>) -> Parse<()> {
        match key {
            b"prompt_tokens" => self.usage.prompt_tokens = r.count()?,
            b"completion_tokens" => self.usage.output_tokens = r.count()?,
            b"cached_tokens" => self.usage.cached_tokens = r.count()?,
            b"finish_reason" => self.finish = FinishState::read(r)?,
            b"e2e_latency" => self.e2e_latency = r.measure()?,
            b"queue_length" | b"num_waiting_reqs" => self.waiting = r.count()?,
            b"num_running_reqs" => self.running = r.count()?,
            b"server_created_time" => self.created = stamp(r)?,
            b"queue_time_start" => self.queue_start = stamp(r)?,
            b"queue_time_end" => self.queue_end = stamp(r)?,
            b"server_first_token_time" => self.first.classic = stamp(r)?,
            b"queue_time" => self.queue_time = r.measure()?,
            b"request_received_ts" => self.received = stamp(r)?,
            b"forward_entry_time" => self.forward_entry = stamp(r)?,
            b"prefill_finished_time" => self.first.prefill = stamp(r)?,
            b"first_token_latency" => self.first.latency = r.measure()?,
            b"prefill_finished_ts" => self.first.first_output = stamp(r)?,
            b"response_sent_to_client_ts" => self.first.sent = stamp(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    /// The time stamps as router-core names them.
    pub(super) fn timing(&self, form: ResponseForm) -> ServerTiming {
        let created = self.created.or(self.received);
        let queue_end = self.queue_end.or(self.forward_entry);
        let difference = self.queue_end.zip(self.queue_start).map(|(end, start)| end - start);
        let queue_time = difference.filter(|t| *t >= 0.0).or(self.queue_time);
        let queue_start = self.queue_start.or_else(|| Some(queue_end? - self.queue_time?));
        ServerTiming {
            created,
            queue_start,
            queue_end,
            first_token: self.first_token(created, form),
            queue_time,
            e2e_latency: self.e2e_latency,
        }
    }

    fn first_token(&self, created: Option<f64>, form: ResponseForm) -> Option<f64> {
        let first = &self.first;
        if self.usage.output_tokens == Some(0) {
            return None;
        }
        if form == ResponseForm::Whole {
            return first.prefill;
        }
        let after_arrival = created.zip(first.latency).map(|(at, latency)| at + latency);
        first.classic.or(first.prefill).or(after_arrival).or(first.first_output).or(first.sent)
    }

    /// The queue lengths, if it has any.
    pub(super) fn load(&self) -> Option<LoadFigures> {
        (self.waiting.is_some() || self.running.is_some()).then(|| LoadFigures {
            waiting: self.waiting,
            running: self.running,
            ..LoadFigures::default()
        })
    }
}

/// Reads a point in time. Zero is unknown: the engine writes it for what has not happened yet.
fn stamp(r: &mut JsonReader<'_>) -> Parse<Option<f64>> {
    Ok(r.measure()?.filter(|at| *at > 0.0))
}
