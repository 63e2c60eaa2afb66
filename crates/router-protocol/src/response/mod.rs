//! What one answer teaches, read from an answer that came whole.
//!
//! Streams go through [`StreamObserver`](crate::StreamObserver), which ends in the same [`ResponseFacts`].

pub(crate) mod events;
mod meta_info;
mod object;
mod stream;
mod usage;

pub use stream::{MAX_EVENT_BYTES, StreamObserver};

use std::borrow::Cow;

use router_core::{ServerTiming, Usage};

use crate::json::{Parse, Reader};
use crate::load::LoadFigures;
use crate::response::meta_info::Delivery;
use crate::response::object::Answer;
use crate::response::usage::add_usage;

/// Longest error message kept, in bytes: enough to read in a log, too little to flood it.
const MAX_MESSAGE: usize = 512;

/// What an answer says about itself. Absent means unknown.
///
/// A batch (a JSON list of answers, or a `/generate` stream with `index`) is one answer here: its token counts are
/// added up (`n` answers to one prompt each count that prompt, as SGLang reports it), it was created and queued when
/// its first part was, it left the queue when its last part did, its first token is the first of all parts, and
/// `queue_time` and `e2e_latency` are the longest.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ResponseFacts {
    /// Token counts.
    pub usage: Usage,
    /// The worker's own time stamps. `first_token` of an answer that was not streamed comes only from the
    /// scheduler's stamp, because the others are up to 50 tokens late there.
    pub timing: ServerTiming,
    /// Queue news that rode on the answer.
    pub load: Option<LoadFigures>,
    /// The error, when the body or an event is an error object or says that the engine aborted with a status code.
    pub error: Option<EngineError>,
    /// A stream: `[DONE]` or a final event was seen. A whole answer: the body is JSON from end to end.
    pub complete: bool,
    /// Whether the engine says it aborted the answer (on request, or because of [`error`](Self::error)).
    pub aborted: bool,
    /// Data events of the stream, `[DONE]` excluded; zero for a whole answer.
    pub events: u32,
}

/// An error an engine reported inside an answer, whatever the HTTP status was.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EngineError {
    /// `code` or `status_code`, when it is an HTTP status.
    pub status: Option<u16>,
    /// `type` or `err_type`.
    pub kind: Option<Box<str>>,
    /// What it says, cut to 512 bytes.
    pub message: Box<str>,
}

impl EngineError {
    pub(crate) fn saying(message: &str) -> Self {
        Self { message: cut(message).into(), ..Self::default() }
    }

    /// Reads the value of `error`: an object, or a string. `null` and the like are no error.
    pub(crate) fn read(r: &mut Reader<'_>) -> Parse<Option<Box<Self>>> {
        match r.peek()? {
            b'"' => Ok(r.text()?.filter(|m| !m.is_empty()).map(|m| Box::new(Self::saying(&m)))),
            b'{' => {
                let mut error = Self::default();
                r.fields(|key, r| {
                    match key {
                        b"message" => error.set_message(r)?,
                        b"type" => error.set_kind(r)?,
                        b"code" => error.status = Self::status_of(r)?,
                        _ => r.skip()?,
                    }
                    Ok(())
                })?;
                Ok(Some(Box::new(error)))
            }
            _ => r.skip().map(|()| None),
        }
    }

    pub(crate) fn set_message(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        self.message = cut(&r.text()?.unwrap_or(Cow::Borrowed(""))).into();
        Ok(())
    }

    pub(crate) fn set_kind(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        self.kind = r.text()?.filter(|k| !k.is_empty()).map(|k| cut(&k).into());
        Ok(())
    }

    /// A code that is an HTTP error status, as a number or as a string of one.
    pub(crate) fn status_of(r: &mut Reader<'_>) -> Parse<Option<u16>> {
        let raw = r.raw()?;
        let digits = raw.strip_prefix(b"\"").and_then(|s| s.strip_suffix(b"\"")).unwrap_or(raw);
        let status = std::str::from_utf8(digits).ok().and_then(|s| s.parse::<u16>().ok());
        Ok(status.filter(|s| (400..600).contains(s)))
    }
}

fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

/// Reads the body of an answer that was not streamed. Never fails: what is not JSON is `complete: false` and unknown.
pub fn read_response(body: &[u8]) -> ResponseFacts {
    let mut sum = Sum::new(Delivery::Whole);
    let mut r = Reader::new(body);
    let read = match r.peek() {
        Ok(b'[') => sum.add_elements(&mut r),
        Ok(b'{') => sum.add_one(&mut r),
        _ => return ResponseFacts::default(),
    };
    if read.is_err() || !r.at_end() {
        return ResponseFacts::default();
    }
    ResponseFacts { complete: true, ..sum.facts }
}

/// Adds up the parts of one answer.
#[derive(Debug)]
pub(crate) struct Sum {
    delivery: Delivery,
    pub(crate) facts: ResponseFacts,
}

impl Sum {
    pub(crate) fn new(delivery: Delivery) -> Self {
        Self { delivery, facts: ResponseFacts::default() }
    }

    fn add_elements(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        // A list of numbers alone is an answer of `/tokenize` or the like; it need not be walked.
        if r.numbers().is_some() {
            return Ok(());
        }
        r.elements(|r| self.add_one(r))
    }

    fn add_one(&mut self, r: &mut Reader<'_>) -> Parse<()> {
        let mut answer = Answer::default();
        answer.read_into(r)?;
        self.add(&mut answer);
        Ok(())
    }

    pub(crate) fn add(&mut self, answer: &mut Answer) {
        if let Some(usage) = answer.token_usage() {
            add_usage(&mut self.facts.usage, &usage);
        }
        if let Some(meta) = &answer.meta {
            add_timing(&mut self.facts.timing, &meta.timing(self.delivery));
            self.facts.load = meta.load().or(self.facts.load.take());
        }
        self.facts.aborted |= answer.is_aborted();
        if self.facts.error.is_none() {
            self.facts.error = answer.take_error();
        }
    }
}

fn add_timing(sum: &mut ServerTiming, one: &ServerTiming) {
    let earliest = |a: Option<f64>, b: Option<f64>| pick(a, b, f64::min);
    let latest = |a: Option<f64>, b: Option<f64>| pick(a, b, f64::max);
    sum.created = earliest(sum.created, one.created);
    sum.queue_start = earliest(sum.queue_start, one.queue_start);
    sum.queue_end = latest(sum.queue_end, one.queue_end);
    sum.first_token = earliest(sum.first_token, one.first_token);
    sum.queue_time = latest(sum.queue_time, one.queue_time);
    sum.e2e_latency = latest(sum.e2e_latency, one.e2e_latency);
}

fn pick(a: Option<f64>, b: Option<f64>, choose: fn(f64, f64) -> f64) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    }
}
