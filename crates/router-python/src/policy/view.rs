//! What a Python policy sees of a request and of the workers: cheap read-only copies.

use super::latency::RecentLatency;
use parking_lot::Mutex;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use router_core::{
    DecisionContext, PolicyNeeds, PromptScript, RequestFeatures, Rng, Time, WorkerId, WorkerView as View,
};
use std::sync::Arc;

/// Load reports older than this many seconds are ignored.
const MAX_REPORT_AGE: f64 = 10.0;

/// A request that needs a worker.
#[pyclass(frozen, module = "sgl_router")]
#[derive(Debug)]
pub(crate) struct Request {
    /// The request's number, the same for all its attempts.
    #[pyo3(get)]
    id: u64,
    /// 0 for the first attempt, one more for each retry.
    #[pyo3(get)]
    attempt: u32,
    /// Seconds since the run began.
    #[pyo3(get)]
    now: f64,
    /// When it came in, in seconds since the run began; None if unknown.
    #[pyo3(get)]
    arrived_at: Option<f64>,
    /// The API route, such as `/v1/chat/completions`.
    #[pyo3(get)]
    route: &'static str,
    /// Whether the client asked for a stream.
    #[pyo3(get)]
    stream: bool,
    /// How many prompts it carries.
    #[pyo3(get)]
    batch: u32,
    /// How many responses per prompt it asks for.
    #[pyo3(get)]
    answers: u32,
    /// Length of all prompts together in bytes.
    #[pyo3(get)]
    prompt_bytes: u64,
    /// Length of all prompts together in tokens; None unless the client sent token ids.
    #[pyo3(get)]
    prompt_tokens: Option<u32>,
    /// The client's cap on generated tokens; None if it set none.
    #[pyo3(get)]
    max_output_tokens: Option<u32>,
    /// Bytes of prompt per entry of `prefix`.
    #[pyo3(get)]
    prefix_block_bytes: u32,
    needs: PolicyNeeds,
    routing_key: Option<u64>,
    script: PromptScript,
    expected_output_tokens: Option<f64>,
    text: Option<Box<str>>,
    prefix: Box<[u64]>,
    rng: Mutex<Rng>,
}

impl Request {
    /// A copy of the context, as far as the policy needs it.
    pub(super) fn of(cx: &mut DecisionContext<'_>, needs: PolicyNeeds) -> Self {
        let RequestFeatures { id, attempt, arrived_at, route, stream, batch, choices: answers, .. } =
            *cx.request;
        let request = cx.request;
        Self {
            id: id.0,
            attempt,
            now: cx.now.as_secs_f64(),
            arrived_at: arrived_at.map(Time::as_secs_f64),
            route: route.as_str(),
            stream,
            batch,
            answers,
            prompt_bytes: request.prompt_bytes,
            prompt_tokens: request.prompt_tokens,
            max_output_tokens: request.max_output_tokens,
            prefix_block_bytes: request.prefix_block_bytes,
            needs,
            routing_key: request.routing_key,
            script: request.script,
            expected_output_tokens: request.expected_output_tokens(),
            text: request.text.filter(|_| needs.text).map(Into::into),
            prefix: if needs.prefix_hashes { request.prefix.into() } else { Box::default() },
            rng: Mutex::new(Rng::seeded(cx.rng.next_u64())),
        }
    }

    /// Fails for an attribute that the policy did not ask for: it would look absent.
    fn supplied(&self, needed: impl Fn(&PolicyNeeds) -> bool, name: &str, need: &str) -> PyResult<()> {
        if needed(&self.needs) {
            return Ok(());
        }
        let message = format!("request.{name} is only there for policies with \"{need}\" in their `needs`");
        Err(PyAttributeError::new_err(message))
    }
}

#[pymethods]
impl Request {
    /// The prompt as it is in the body; None if there is none.
    #[getter]
    fn text(&self) -> PyResult<Option<&str>> {
        self.supplied(|n| n.text, "text", "text")?;
        Ok(self.text.as_deref())
    }

    /// Chained hashes of the prompt's leading blocks: equal entries mean equal beginnings.
    #[getter]
    fn prefix<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.supplied(|n| n.prefix_hashes, "prefix", "prefix_hashes")?;
        PyTuple::new(py, &self.prefix)
    }

    /// What the prompt is written in: `latin`, `code`, `wide` or `escaped`; None if unknown.
    #[getter]
    fn script(&self) -> PyResult<Option<&'static str>> {
        self.supplied(|n| n.script, "script", "script")?;
        Ok(match self.script {
            PromptScript::Latin => Some("latin"),
            PromptScript::Code => Some("code"),
            PromptScript::Wide => Some("wide"),
            PromptScript::Escaped => Some("escaped"),
            _ => None,
        })
    }

    /// How many tokens its output is expected to have, by those that like requests got or by what the caller states; None
    /// where nothing foresees it.
    #[getter]
    fn expected_output_tokens(&self) -> PyResult<Option<f64>> {
        self.supplied(|n| n.forecast, "expected_output_tokens", "forecast")?;
        Ok(self.expected_output_tokens)
    }

    /// A hash of the session or user that the client named; None if it named none.
    #[getter]
    fn routing_key(&self) -> PyResult<Option<u64>> {
        self.supplied(|n| n.routing_key, "routing_key", "routing_key")?;
        Ok(self.routing_key)
    }

    /// A number from 0 to below 1 that follows from the run's seed, a new one with each call.
    fn random(&self) -> f64 {
        self.rng.lock().unit_f64()
    }

    /// A whole number from 0 to below `n` that follows from the run's seed, a new one with each call.
    fn randrange(&self, n: usize) -> usize {
        self.rng.lock().below(n)
    }

    fn __repr__(&self) -> String {
        let Self { id, route, prompt_bytes, .. } = self;
        format!("Request(id={id}, route='{route}', prompt_bytes={prompt_bytes})")
    }
}

/// A worker that can be chosen.
#[pyclass(frozen, module = "sgl_router")]
#[derive(Debug)]
pub(crate) struct WorkerView {
    pub(super) id: WorkerId,
    url: Arc<str>,
    /// Its place among the workers of this decision.
    #[pyo3(get)]
    index: usize,
    /// Relative capacity; 1 unless configured.
    #[pyo3(get)]
    weight: f64,
    /// Of equal workers the one with the higher priority is preferred; 50 unless configured.
    #[pyo3(get)]
    priority: u32,
    /// How many requests it runs at once; None if unknown.
    #[pyo3(get)]
    max_running_requests: Option<u32>,
    /// How many tokens fit into its KV cache; None if unknown.
    #[pyo3(get)]
    max_total_tokens: Option<u64>,
    /// Requests that this router sent to it and that have not ended.
    #[pyo3(get)]
    in_flight: u32,
    /// Prompt bytes of those requests.
    #[pyo3(get)]
    in_flight_bytes: u64,
    /// Tokens that those requests are expected to generate, each in all; 0 for policies without "forecast" in their `needs`.
    #[pyo3(get)]
    expected_output_tokens: f64,
    /// Requests in flight plus one, divided by its weight: the lowest is the least loaded.
    #[pyo3(get)]
    next_load: f64,
    /// Requests waiting there, by its last report and what was sent and ended since; None without a recent report.
    #[pyo3(get)]
    queue_length: Option<u32>,
    /// Requests running there, by its last report; None without a recent report.
    #[pyo3(get)]
    running: Option<u32>,
    /// Share of its KV cache in use, 0 to 1, by its last report; None without a recent report.
    #[pyo3(get)]
    kv_usage: Option<f64>,
    /// Tokens per second that it generates, by its last report; None without a recent report.
    #[pyo3(get)]
    throughput: Option<f64>,
    /// Seconds since its last report; None if it never reported its load.
    #[pyo3(get)]
    report_age: Option<f64>,
    /// Seconds of its recent responses, as a moving mean; None before the first.
    #[pyo3(get)]
    latency: Option<f64>,
    /// Seconds to the first token of its recent responses, as a moving mean; None before the first streamed response.
    #[pyo3(get)]
    ttft: Option<f64>,
}

impl WorkerView {
    pub(super) fn of(index: usize, view: &View<'_>, recent: RecentLatency, now: Time) -> Self {
        let report = view.fresh_load(now, MAX_REPORT_AGE);
        Self {
            id: view.id,
            url: Arc::clone(&view.info.url),
            index,
            weight: view.weight(),
            priority: view.info.priority,
            max_running_requests: view.info.max_running_requests,
            max_total_tokens: view.info.max_total_tokens,
            in_flight: view.in_flight,
            in_flight_bytes: view.in_flight_bytes,
            expected_output_tokens: view.expected_output_tokens,
            next_load: view.next_load(),
            queue_length: view.fresh_waiting(now, MAX_REPORT_AGE),
            running: report.and_then(|r| r.running),
            kv_usage: report.and_then(|r| r.kv_usage),
            throughput: report.and_then(|r| r.gen_throughput),
            report_age: view.load.map(|r| now.secs_since(r.at)),
            latency: recent.latency,
            ttft: recent.ttft,
        }
    }
}

#[pymethods]
impl WorkerView {
    /// Its base URL, which identifies it.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    fn __repr__(&self) -> String {
        let Self { index, url, in_flight, .. } = self;
        format!("WorkerView(index={index}, url='{url}', in_flight={in_flight})")
    }
}
