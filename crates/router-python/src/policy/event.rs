//! The events that a Python policy can learn from, one class for all kinds.

use pyo3::prelude::*;
use router_core::{Completion, Event as Fact, LoadReport, Time, WorkerId};
use std::sync::Arc;

/// Something that happened. Attributes that do not apply to its kind are None.
#[pyclass(frozen, module = "sgl_router")]
#[derive(Debug)]
pub(crate) struct Event {
    worker: Arc<str>,
    /// `joined`, `changed`, `left`, `dispatched`, `first_token`, `progress`, `finished` or `load`.
    #[pyo3(get)]
    kind: &'static str,
    /// When, in seconds since the run began.
    #[pyo3(get)]
    time: f64,
    /// The request's number, the same for all its attempts.
    #[pyo3(get)]
    request: Option<u64>,
    /// 0 for the first attempt, one more for each retry.
    #[pyo3(get)]
    attempt: Option<u32>,
    /// Events of a streamed response so far, about as many as tokens.
    #[pyo3(get)]
    events: Option<u32>,
    /// Length of the prompt in bytes, when a request was dispatched.
    #[pyo3(get)]
    prompt_bytes: Option<u64>,
    /// How a request ended: `success`, `rejected`, `busy`, `failed` or `cancelled`.
    #[pyo3(get)]
    outcome: Option<&'static str>,
    /// The worker's HTTP status.
    #[pyo3(get)]
    status: Option<u16>,
    /// Seconds from sending to the last byte.
    #[pyo3(get)]
    latency: Option<f64>,
    /// Seconds from sending to the first byte of a streamed response.
    #[pyo3(get)]
    ttft: Option<f64>,
    /// Prompt tokens.
    #[pyo3(get)]
    prompt_tokens: Option<u32>,
    /// Prompt tokens that the worker found in its cache.
    #[pyo3(get)]
    cached_tokens: Option<u32>,
    /// Generated tokens.
    #[pyo3(get)]
    output_tokens: Option<u32>,
    /// Requests waiting at the worker, as it reported.
    #[pyo3(get)]
    queue_length: Option<u32>,
    /// Requests running at the worker, as it reported.
    #[pyo3(get)]
    running: Option<u32>,
    /// Share of the worker's KV cache in use, as it reported.
    #[pyo3(get)]
    kv_usage: Option<f64>,
    /// Tokens per second that the worker generates, as it reported.
    #[pyo3(get)]
    throughput: Option<f64>,
}

impl Event {
    /// The fact as an event; `None` where `url` does not know the worker.
    pub(super) fn of(now: Time, fact: &Fact<'_>, url: impl Fn(WorkerId) -> Option<Arc<str>>) -> Option<Self> {
        let bare = |kind, worker| Some(Self::bare(kind, url(worker)?, now));
        match fact {
            Fact::Joined { worker, .. } => bare("joined", *worker),
            Fact::Changed { worker, .. } => bare("changed", *worker),
            Fact::Left(worker) => bare("left", *worker),
            Fact::CacheEmptied(worker) => bare("cache_emptied", *worker),
            Fact::Dispatched { worker, request } => Some(Self {
                request: Some(request.id.0),
                attempt: Some(request.attempt),
                prompt_bytes: Some(request.prompt_bytes),
                ..bare("dispatched", *worker)?
            }),
            Fact::FirstToken { worker, request } => {
                Some(Self { request: Some(request.0), ..bare("first_token", *worker)? })
            }
            Fact::Progress { worker, request, events } => {
                Some(Self { request: Some(request.0), events: Some(*events), ..bare("progress", *worker)? })
            }
            Fact::Finished(completion) => Some(bare("finished", completion.worker)?.finished(completion)),
            Fact::Load { worker, report } => Some(bare("load", *worker)?.reported(report)),
            _ => None,
        }
    }

    fn bare(kind: &'static str, worker: Arc<str>, now: Time) -> Self {
        Self {
            worker,
            kind,
            time: now.as_secs_f64(),
            request: None,
            attempt: None,
            events: None,
            prompt_bytes: None,
            outcome: None,
            status: None,
            latency: None,
            ttft: None,
            prompt_tokens: None,
            cached_tokens: None,
            output_tokens: None,
            queue_length: None,
            running: None,
            kv_usage: None,
            throughput: None,
        }
    }

    fn finished(self, completion: &Completion) -> Self {
        let finish = &completion.result;
        let reported = match &finish.load {
            Some(report) => self.reported(report),
            None => self,
        };
        Self {
            request: Some(completion.request.0),
            attempt: Some(completion.attempt),
            outcome: Some(finish.outcome.as_str()),
            status: finish.status,
            latency: Some(completion.server_latency()),
            ttft: completion.ttft(),
            prompt_tokens: finish.usage.prompt_tokens,
            cached_tokens: finish.usage.cached_tokens,
            output_tokens: finish.usage.output_tokens,
            ..reported
        }
    }

    fn reported(self, report: &LoadReport) -> Self {
        Self {
            queue_length: report.waiting,
            running: report.running,
            kv_usage: report.kv_usage,
            throughput: report.gen_throughput,
            ..self
        }
    }
}

#[pymethods]
impl Event {
    /// The URL of the worker.
    #[getter]
    fn worker(&self) -> &str {
        &self.worker
    }

    fn __repr__(&self) -> String {
        let Self { kind, worker, time, .. } = self;
        format!("Event(kind='{kind}', worker='{worker}', time={time:?})")
    }
}
