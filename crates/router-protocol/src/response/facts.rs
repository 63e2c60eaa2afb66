//! The facts of one response, added up from its parts.

use router_core::{ServerTiming, TokenUsage};

use super::error::EngineError;
use super::meta_info::ResponseForm;
use super::object::ResponseObject;
use super::usage::add_usage;
use crate::load::LoadFigures;

/// What a response says about itself. Absent means unknown.
///
/// A batch (a JSON list of objects, or a `/generate` stream with `index`) is one response here. Its token counts are
/// added up; `n` choices of one prompt each count that prompt, as SGLang reports it. It was created and queued when its
/// first part was, it left the queue when its last part did, its first token is the first of all parts, and
/// `queue_time` and `e2e_latency` are the longest.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ResponseFacts {
    /// Token counts.
    pub usage: TokenUsage,
    /// The worker's own time stamps. `first_token` of a response that was not streamed comes only from the
    /// scheduler's stamp, because the others are up to 50 tokens late there.
    pub timing: ServerTiming,
    /// Load figures in the response (`meta_info` of SGLang).
    pub load: Option<LoadFigures>,
    /// The error, when the body or an event is an error object or says that the engine aborted with a status code.
    pub error: Option<EngineError>,
    /// A stream: `[DONE]` or a final event was seen. A whole response: the body is JSON from end to end.
    pub complete: bool,
    /// Whether the engine says that it aborted the request (when asked to, or because of [`error`](Self::error)).
    pub aborted: bool,
    /// The id by which the worker keeps the response, of `/v1/responses`: a later request may refer to it.
    pub stored_id: Option<Box<str>>,
    /// Data events of the stream, `[DONE]` excluded; zero for a response that was not streamed.
    pub events: u32,
}

/// Adds up the parts of one response.
#[derive(Debug)]
pub(super) struct ResponseSum {
    form: ResponseForm,
    pub(super) facts: ResponseFacts,
}

impl ResponseSum {
    pub(super) fn new(form: ResponseForm) -> Self {
        Self { form, facts: ResponseFacts::default() }
    }

    /// Adds one part and takes the error out of it.
    pub(super) fn add(&mut self, object: &mut ResponseObject) {
        if let Some(usage) = object.token_usage() {
            add_usage(&mut self.facts.usage, &usage);
        }
        if let Some(meta) = &object.meta {
            add_timing(&mut self.facts.timing, &meta.timing(self.form));
            self.facts.load = meta.load().or(self.facts.load);
        }
        self.facts.aborted |= object.is_aborted();
        if self.facts.error.is_none() {
            self.facts.error = object.take_error();
        }
        if self.facts.stored_id.is_none() {
            self.facts.stored_id = object.stored_id.take();
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
