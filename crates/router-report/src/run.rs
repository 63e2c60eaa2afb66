//! A run as read from a file: requests, decisions, and the names that they refer to.

use crate::problem::FileProblem;
use serde::Serialize;
use std::collections::HashMap;

/// Which program wrote a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The load generator: a row per request, as the client saw it.
    Client,
    /// The router's recorder: a row per decision and per completion.
    Recorder,
}

/// The names of a column, each stored once.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    all: Vec<String>,
    indices: HashMap<Vec<u8>, u32>,
}

impl NameTable {
    /// The index of `name`, which is added if it is new.
    pub(crate) fn index(&mut self, name: &[u8]) -> u32 {
        if let Some(&index) = self.indices.get(name) {
            return index;
        }
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(String::from_utf8_lossy(name).into_owned());
        self.indices.insert(name.to_vec(), index);
        index
    }

    /// The names, by index.
    pub fn as_slice(&self) -> &[String] {
        &self.all
    }
}

/// A finished request. All times are in seconds, by the clock of the file. Absent means that the file does not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RecordedRequest {
    /// Its index in [`RecordedRun::workers`]; absent if no worker responded.
    pub worker: Option<u32>,
    /// Whether the response was complete. Failures are counted, and left out of all latencies.
    pub ok: bool,
    /// When it was sent.
    pub start: Option<f64>,
    /// When its last byte arrived.
    pub end: Option<f64>,
    /// From sending to the last byte: in a client's file as the client saw it, in a recorder's file as the router did.
    pub latency: Option<f64>,
    /// From sending to the first token.
    pub ttft: Option<f64>,
    /// Generated tokens.
    pub output_tokens: Option<f64>,
    /// Time in the worker's queue.
    pub queue_time: Option<f64>,
    /// Requests waiting on the worker, as the worker reported.
    pub queue_length: Option<f64>,
    /// What the router expected of its output.
    pub forecast: Option<RecordedForecast>,
    /// Prompt tokens that the router's policy predicted in the worker's cache.
    pub predicted_cached_tokens: Option<f64>,
    /// Prompt tokens in the worker's cache, as the worker reported.
    pub cached_tokens: Option<f64>,
}

/// What the router expected of the output of a request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RecordedForecast {
    /// The index of the class that it came from in [`RecordedRun::forecast_classes`].
    pub class: u32,
    /// The expected length in tokens.
    pub tokens: f64,
    /// The share of the forecast's distribution below the length that came, from 0 to 1.
    pub rank: Option<f64>,
}

impl RecordedRequest {
    /// Seconds per token after the first, when there were at least two.
    pub fn tpot(&self) -> Option<f64> {
        let (latency, ttft, tokens) = (self.latency?, self.ttft?, self.output_tokens?);
        (tokens > 1.0 && latency >= ttft).then(|| (latency - ttft) / (tokens - 1.0))
    }
}

/// One decision of the router.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RecordedDecision {
    /// When, in seconds, by the clock of the run's requests.
    pub at: Option<f64>,
    /// The chosen worker's index in [`RecordedRun::workers`].
    pub worker: u32,
    /// The reason's index in [`RecordedRun::reasons`].
    pub reason: u32,
    /// Tokens per second per second.
    pub throughput_gradient: Option<f64>,
    /// Seconds per second.
    pub latency_gradient: Option<f64>,
    /// The chosen worker's score; higher is better.
    pub score: Option<f64>,
    /// How long the decision took, in milliseconds.
    pub took_ms: Option<f64>,
}

/// The content of one file.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    /// The file's name without its extension.
    pub name: String,
    /// Which program wrote it.
    pub kind: FileKind,
    /// The policy, if the file says.
    pub policy: Option<String>,
    /// The workers' URLs.
    pub workers: NameTable,
    /// The reasons of the decisions.
    pub reasons: NameTable,
    /// The classes of forecasts of output lengths.
    pub forecast_classes: NameTable,
    /// The finished requests, in the file's order.
    pub requests: Vec<RecordedRequest>,
    /// The decisions, in the file's order; empty for a client's file.
    pub decisions: Vec<RecordedDecision>,
}

impl RecordedRun {
    /// A simulated run, as a client would have seen it. The worker of a request is an index of `workers`.
    pub fn simulated(name: &str, workers: &[String], requests: Vec<RecordedRequest>) -> Self {
        let mut run = Self { requests, ..Self::new(name.to_owned(), FileKind::Client) };
        for worker in workers {
            run.workers.index(worker.as_bytes());
        }
        run
    }

    /// An empty run.
    pub(crate) fn new(name: String, kind: FileKind) -> Self {
        Self {
            name,
            kind,
            policy: None,
            workers: NameTable::default(),
            reasons: NameTable::default(),
            forecast_classes: NameTable::default(),
            requests: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Sets the policy from a row, if it is not set; all rows of a run name the same policy.
    pub(crate) fn set_policy(&mut self, policy: &[u8]) {
        if self.policy.is_none() && !policy.is_empty() {
            self.policy = Some(String::from_utf8_lossy(policy).into_owned());
        }
    }
}

/// The result of reading one file.
#[derive(Clone, Debug)]
pub struct ParsedFile {
    /// The run; absent if nothing in the file could be used.
    pub run: Option<RecordedRun>,
    /// The problems of the file.
    pub problems: Vec<FileProblem>,
}
