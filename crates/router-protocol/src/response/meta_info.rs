//! SGLang's `meta_info`: token counts, time stamps and queue news that ride on a native answer.
//!
//! Two families of fields exist. The classic ones (`queue_length`, `queue_time_start`, `queue_time_end`,
//! `server_created_time`, `server_first_token_time`) are sent by servers patched for performance-aware routing; the
//! stock ones come from SGLang 0.5.5 on, most of them only with `--enable-metrics`. Where both are there, the
//! classic ones win.

use router_core::{ServerTiming, Usage};

use crate::json::{Parse, Reader};
use crate::load::LoadFigures;
use crate::response::EngineError;

/// Whether the answer came as a stream. The engine stamps the first token of an answer that is not streamed when its
/// first *flush* passes, up to 50 tokens late, so such a stamp is no time to first token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    Streamed,
    Whole,
}

/// How an answer ended, as far as it says.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) enum Ending {
    /// `finish_reason` is null or missing: more is to come.
    #[default]
    Open,
    /// It ended by itself: stop, length.
    Done,
    /// It was aborted, on request or because of the error given.
    Aborted(Option<Box<EngineError>>),
}

/// The fields of one `meta_info` the router uses.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct MetaInfo {
    pub(crate) usage: Usage,
    pub(crate) ending: Ending,
    waiting: Option<u32>,
    running: Option<u32>,
    created: Option<f64>,
    queue_start: Option<f64>,
    queue_end: Option<f64>,
    queue_time: Option<f64>,
    e2e_latency: Option<f64>,
    first: FirstToken,
    received: Option<f64>,
    forward_entry: Option<f64>,
}

/// The stamps from which the time of the first token follows, best first.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
struct FirstToken {
    /// `server_first_token_time`: Unix seconds, stamped by the tokenizer manager.
    classic: Option<f64>,
    /// `prefill_finished_time` (0.5.23): Unix seconds, stamped by the scheduler, so true for whole answers as well.
    prefill: Option<f64>,
    /// `first_token_latency` (0.5.23): seconds since arrival.
    latency: Option<f64>,
    /// `prefill_finished_ts` (0.5.5): Unix seconds, first output seen by the tokenizer manager.
    seen: Option<f64>,
    /// `response_sent_to_client_ts`: Unix seconds; in a stream, when the first chunk went out.
    sent: Option<f64>,
}

impl MetaInfo {
    /// Consumes a value into `meta`; `None` when it is not an object.
    pub(crate) fn read(r: &mut Reader<'_>, meta: &mut Option<Self>) -> Parse<()> {
        *meta = None;
        if r.peek()? != b'{' {
            return r.skip();
        }
        let meta = meta.insert(Self::default());
        r.fields(|key, r| meta.member(key, r))
    }

    #[inline]
    fn member(&mut self, key: &[u8], r: &mut Reader<'_>) -> Parse<()> {
        match key {
            b"prompt_tokens" => self.usage.prompt_tokens = r.count()?,
            b"completion_tokens" => self.usage.output_tokens = r.count()?,
            b"cached_tokens" => self.usage.cached_tokens = r.count()?,
            b"finish_reason" => self.ending = Ending::read(r)?,
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
            b"prefill_finished_ts" => self.first.seen = stamp(r)?,
            b"response_sent_to_client_ts" => self.first.sent = stamp(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    /// The time stamps in the terms of the core.
    pub(crate) fn timing(&self, delivery: Delivery) -> ServerTiming {
        let created = self.created.or(self.received);
        let queue_end = self.queue_end.or(self.forward_entry);
        let difference = self.queue_end.zip(self.queue_start).map(|(end, start)| end - start);
        let queue_time = difference.filter(|t| *t >= 0.0).or(self.queue_time);
        let queue_start = self.queue_start.or_else(|| Some(queue_end? - self.queue_time?));
        ServerTiming {
            created,
            queue_start,
            queue_end,
            first_token: self.first_token(created, delivery),
            queue_time,
            e2e_latency: self.e2e_latency,
        }
    }

    fn first_token(&self, created: Option<f64>, delivery: Delivery) -> Option<f64> {
        let first = &self.first;
        if self.usage.output_tokens == Some(0) {
            return None;
        }
        if delivery == Delivery::Whole {
            return first.prefill;
        }
        let after_arrival = created.zip(first.latency).map(|(at, latency)| at + latency);
        first.classic.or(first.prefill).or(after_arrival).or(first.seen).or(first.sent)
    }

    /// The queue news, if there are any.
    pub(crate) fn load(&self) -> Option<LoadFigures> {
        (self.waiting.is_some() || self.running.is_some()).then(|| LoadFigures {
            waiting: self.waiting,
            running: self.running,
            ..LoadFigures::default()
        })
    }
}

impl Ending {
    /// Reads `finish_reason`: an object with a `type` on the native route, a plain string on the OpenAI routes.
    pub(crate) fn read(r: &mut Reader<'_>) -> Parse<Self> {
        match r.peek()? {
            b'"' => Ok(if r.string()?.0 == b"abort" { Self::Aborted(None) } else { Self::Done }),
            b'{' => Self::read_object(r),
            _ => r.skip().map(|()| Self::Open),
        }
    }

    fn read_object(r: &mut Reader<'_>) -> Parse<Self> {
        let mut aborted = false;
        let mut error = EngineError::default();
        r.fields(|key, r| {
            match key {
                b"type" => aborted = r.raw()? == br#""abort""#,
                b"status_code" => error.status = EngineError::status_of(r)?,
                b"message" => error.set_message(r)?,
                b"err_type" => error.set_kind(r)?,
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(match aborted {
            false => Self::Done,
            true => Self::Aborted(error.status.is_some().then(|| Box::new(error))),
        })
    }
}

/// A point in time. Zero is how the engine writes "not yet".
fn stamp(r: &mut Reader<'_>) -> Parse<Option<f64>> {
    Ok(r.measure()?.filter(|at| *at > 0.0))
}
