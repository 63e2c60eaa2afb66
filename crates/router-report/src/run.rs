//! One run as it was read: requests, decisions, and the names they use.

use crate::problem::FileProblem;
use serde::Serialize;
use std::collections::HashMap;

/// Who wrote a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// The load generator: a row per request, as the client saw it.
    Client,
    /// The router's recorder: a row per decision and per completion.
    Recorder,
}

/// Names that recur in a column, each kept once.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    all: Vec<String>,
    places: HashMap<Vec<u8>, u32>,
}

impl NameTable {
    /// The place of `name`, new or known.
    pub(crate) fn place(&mut self, name: &[u8]) -> u32 {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let place = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(String::from_utf8_lossy(name).into_owned());
        self.places.insert(name.to_vec(), place);
        place
    }

    /// The names, by place.
    pub fn as_slice(&self) -> &[String] {
        &self.all
    }
}

/// One request that ended. Seconds; times count from wherever the file counts. Absent means that the file does not say.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct RecordedRequest {
    /// Its place in [`RecordedRun::workers`]; absent when no worker answered.
    pub worker: Option<u32>,
    /// Whether it was answered whole. A failure counts as such and has no part in any latency.
    pub ok: bool,
    /// When it was sent.
    pub start: Option<f64>,
    /// When its last byte came.
    pub end: Option<f64>,
    /// From sending to the last byte: for a client's file what the client waited, for a recorder's what the worker took.
    pub latency: Option<f64>,
    /// From sending to the first token.
    pub ttft: Option<f64>,
    /// Generated tokens.
    pub output_tokens: Option<f64>,
    /// Time in the worker's queue.
    pub queue_time: Option<f64>,
    /// Requests waiting on the worker, as it told.
    pub queue_length: Option<f64>,
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
    /// The chosen worker's place in [`RecordedRun::workers`].
    pub worker: u32,
    /// The reason's place in [`RecordedRun::reasons`].
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

/// One file, read.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    /// The file's name without its ending.
    pub name: String,
    /// Who wrote it.
    pub kind: FileKind,
    /// The policy, where the file tells.
    pub policy: Option<String>,
    /// The workers' URLs.
    pub workers: NameTable,
    /// Why decisions were made.
    pub reasons: NameTable,
    /// What ended, in the file's order.
    pub requests: Vec<RecordedRequest>,
    /// What was decided, in the file's order; empty for a client's file.
    pub choices: Vec<RecordedDecision>,
}

impl RecordedRun {
    /// A simulated run, as a client would have seen it. The workers of the requests are places among `workers`.
    pub fn simulated(name: &str, workers: &[String], requests: Vec<RecordedRequest>) -> Self {
        let mut run = Self { requests, ..Self::new(name.to_owned(), FileKind::Client) };
        for worker in workers {
            run.workers.place(worker.as_bytes());
        }
        run
    }

    /// A run without rows.
    pub(crate) fn new(name: String, kind: FileKind) -> Self {
        Self {
            name,
            kind,
            policy: None,
            workers: NameTable::default(),
            reasons: NameTable::default(),
            requests: Vec::new(),
            choices: Vec::new(),
        }
    }

    /// Takes the policy from a row, once; rows of one run all name the same.
    pub(crate) fn note_policy(&mut self, policy: &[u8]) {
        if self.policy.is_none() && !policy.is_empty() {
            self.policy = Some(String::from_utf8_lossy(policy).into_owned());
        }
    }
}

/// What came of reading one file.
#[derive(Clone, Debug)]
pub struct ParsedFile {
    /// The run; absent when nothing in the file could be used.
    pub run: Option<RecordedRun>,
    /// What was wrong with the file.
    pub problems: Vec<FileProblem>,
}
