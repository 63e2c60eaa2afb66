//! The CSV: one row per request that was sent, in the order of the plan.
//!
//! Times are in seconds; points in time count from the start of the load, the workers' own ones too. What is unknown
//! is an empty field, never 0. A request that failed has a `finish_time` (when it was given up) and no latencies, so
//! that a mean over a column is one over successful requests.

use crate::outcome::RequestOutcome;
use crate::plan::PlannedRequest;
use crate::run::LoadResult;
use crate::running_totals::{CompletedRequest, RunningTotals, running_totals};
use std::io::Write;
use std::time::Duration;

/// The columns, in their order.
pub const COLUMNS: [&str; 31] = [
    "PREFILL_THROUGHPUT",
    "DECODE_THROUGHPUT",
    "AVG_LATENCY",
    "req_id",
    "success",
    "error",
    "host",
    "has_generated_text",
    "input_length",
    "expected_output_length",
    "actual_prompt_tokens",
    "actual_output_tokens",
    "actual_total_tokens",
    "output_tokens_from_trace",
    "decode_length",
    "arrival_time",
    "router_send_time",
    "server_created_time",
    "queue_time_start",
    "queue_time_end",
    "server_first_token_time",
    "finish_time",
    "server_latency",
    "total_latency",
    "ttft",
    "prefill_token_throughput",
    "decode_token_throughput",
    "queue_time_in_router",
    "queue_time_in_server",
    "tokenize_time",
    "pure_queue_time",
];

/// Further columns, after those: prompt tokens that the worker had in its cache, and the sender's own lateness in seconds.
pub const FURTHER_COLUMNS: [&str; 2] = ["cached_tokens", "lateness"];

/// A further column of loads that have clients: the name of the request's client.
const CLIENT_COLUMN: &str = "client";

/// Writes the header and every row.
///
/// # Errors
/// `out` cannot be written to.
pub fn write_rows(run: &LoadResult, out: impl Write) -> std::io::Result<()> {
    let done: Vec<_> = run.outcomes.iter().map(done).collect();
    let mut csv = csv::Writer::from_writer(out);
    let clients = &run.plan().clients;
    let client_column = (!clients.is_empty()).then_some(CLIENT_COLUMN);
    csv.write_record(COLUMNS.into_iter().chain(FURTHER_COLUMNS).chain(client_column))?;
    for (outcome, running) in run.outcomes.iter().zip(running_totals(&done)) {
        // Every outcome belongs to a request of the plan.
        let Some(request) = run.plan().requests.get(outcome.index) else { continue };
        let row = CsvRow { outcome, request, running, started: run.started_unix };
        let client = request.client.and_then(|index| clients.get(index)).map(ToString::to_string);
        let client = client_column.map(|_| client.unwrap_or_default());
        let fields = row.fields(run.request_id(outcome.index)).into_iter();
        csv.write_record(fields.chain(row.further_fields()).chain(client))?;
    }
    csv.flush()
}

fn done(outcome: &RequestOutcome) -> Option<CompletedRequest<'_>> {
    let usage = &outcome.facts.usage;
    outcome.is_ok().then(|| CompletedRequest {
        finished: outcome.finished.as_secs_f64(),
        worker: outcome.worker.as_deref(),
        prompt_tokens: usage.prompt_tokens.map(u64::from),
        output_tokens: usage.output_tokens.map(u64::from),
    })
}

struct CsvRow<'a> {
    outcome: &'a RequestOutcome,
    request: &'a PlannedRequest,
    running: RunningTotals,
    /// Unix seconds of the start.
    started: f64,
}

/// The worker's time stamps, in seconds from the start of the load test.
struct WorkerTimes {
    created: Option<f64>,
    queue_start: Option<f64>,
    queue_end: Option<f64>,
    first_token: Option<f64>,
}

impl CsvRow<'_> {
    fn fields(&self, id: String) -> [String; 31] {
        let Self { outcome, request, running, .. } = self;
        let (times, usage) = (self.times(), &outcome.facts.usage);
        let output = usage.output_tokens;
        let total = usage.prompt_tokens.zip(output).map(|(a, b)| u64::from(a) + u64::from(b));
        let (arrival, sent) = (outcome.arrival.as_secs_f64(), outcome.sent.as_secs_f64());
        let finished = outcome.finished.as_secs_f64();
        let ok = |value: f64| outcome.is_ok().then_some(value);
        [
            float(running.prefill),
            float(running.decode),
            float(running.latency),
            id,
            truth(outcome.is_ok()).to_owned(),
            outcome.failure.as_ref().map(ToString::to_string).unwrap_or_default(),
            outcome.worker.clone().unwrap_or_default(),
            self.has_text().map(truth).unwrap_or_default().to_owned(),
            request.input_tokens.to_string(),
            request.output_tokens.to_string(),
            count(usage.prompt_tokens),
            count(output),
            count(total),
            count(request.traced_output),
            count(output),
            float(Some(arrival)),
            float(Some(sent)),
            float(times.created),
            float(times.queue_start),
            float(times.queue_end),
            float(times.first_token),
            float(Some(finished)),
            float(ok(finished - sent)),
            float(ok(finished - arrival)),
            float(self.ttft(&times)),
            float(running.worker_prefill),
            float(running.worker_decode),
            float(Some(sent - arrival)),
            float(difference(times.first_token, times.created)),
            float(difference(times.queue_start, times.created)),
            float(difference(times.queue_end, times.queue_start).or(outcome.facts.timing.queue_time)),
        ]
    }

    fn further_fields(&self) -> [String; 2] {
        let lateness = self.outcome.lateness.as_ref().map(Duration::as_secs_f64);
        [count(self.outcome.facts.usage.cached_tokens), float(lateness)]
    }

    fn times(&self) -> WorkerTimes {
        let timing = &self.outcome.facts.timing;
        let local = |unix: Option<f64>| unix.map(|unix| unix - self.started);
        WorkerTimes {
            created: local(timing.created),
            queue_start: local(timing.queue_start),
            queue_end: local(timing.queue_end),
            first_token: local(timing.first_token),
        }
    }

    /// From the first event of a stream; for an unstreamed response, from the worker's time stamp.
    fn ttft(&self, times: &WorkerTimes) -> Option<f64> {
        let seen = self.outcome.ttft().as_ref().map(Duration::as_secs_f64);
        seen.or_else(|| difference(times.first_token, Some(self.outcome.arrival.as_secs_f64())))
    }

    /// From the token count, or false when a failed request got no bytes.
    fn has_text(&self) -> Option<bool> {
        let counted = self.outcome.facts.usage.output_tokens.map(|n| n > 0);
        counted.or((!self.outcome.is_ok() && self.outcome.bytes == 0).then_some(false))
    }
}

fn difference(later: Option<f64>, earlier: Option<f64>) -> Option<f64> {
    Some(later? - earlier?)
}

/// As Python writes it, like the recorded runs and many readers of them.
const fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

fn count(value: Option<impl ToString>) -> String {
    value.map(|n| n.to_string()).unwrap_or_default()
}

fn float(value: Option<f64>) -> String {
    value.filter(|x| x.is_finite()).map(|x| format!("{x:?}")).unwrap_or_default()
}
