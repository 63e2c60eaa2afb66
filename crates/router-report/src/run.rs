//! A run as read from a file: requests, decisions, and the names that they refer to.

use crate::problem::FileProblem;
use crate::simulation::SimulationReport;
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

    /// Adds the names of `other`, and returns the index that each of them has here.
    fn merge(&mut self, other: &Self) -> Vec<u32> {
        other.all.iter().map(|name| self.index(name.as_bytes())).collect()
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
    /// Prompt tokens, as the worker reported.
    pub prompt_tokens: Option<f64>,
    /// What tells the same request of another run: the number in an id of `sgl-router send`, else a hash of the id.
    pub key: Option<u64>,
    /// What was asked for.
    pub planned: PlannedLengths,
    /// How much later than planned the sender sent it, in seconds.
    pub lateness: Option<f64>,
    /// How many attempts at it came before; 0 in a client's file.
    pub attempt: u32,
    /// Why it failed: an index in [`RecordedRun::failure_kinds`].
    pub failure: Option<u32>,
}

/// The size of a request, as it was sent. Both are the same in every run of the same load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PlannedLengths {
    /// Of the prompt: in tokens in a client's file, in bytes in a recorder's.
    pub prompt: Option<u32>,
    /// Output tokens: as planned in a client's file, the limit of the request in a recorder's.
    pub output: Option<u32>,
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
    /// How many attempts at the request came before.
    pub attempt: u32,
    /// Its number among the rows of the recording, if they have any.
    pub seq: Option<u64>,
}

/// What a shadow policy would have done.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordedShadow {
    /// Its name.
    pub policy: String,
    /// The worker that it would have chosen at each decision, as an index of [`RecordedRun::workers`]; absent where
    /// the file does not say.
    pub choices: Vec<Option<u32>>,
    /// How it rated its own choices and those of the live policy, if the candidates were recorded.
    pub ratings: Option<ShadowRatings>,
}

/// How a shadow policy rated the workers that it would have chosen, and those that the live policy chose: sums over
/// decisions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ShadowRatings {
    /// Decisions with both.
    pub decisions: u64,
    /// Those of them in which the two workers differ.
    pub differing: u64,
    /// The shadow's cost of its own choices. The unit is that of the policy.
    pub own_cost: f64,
    /// The shadow's cost of the live choices.
    pub live_cost: f64,
    /// Decisions in which the shadow predicted latencies.
    pub predicted: u64,
    /// The latency that it predicted for its own choices, in seconds.
    pub own_latency: f64,
    /// The latency that it predicted for the live choices, in seconds.
    pub live_latency: f64,
}

impl ShadowRatings {
    /// Adds the sums of another part of the recording.
    pub(crate) fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.differing += other.differing;
        self.own_cost += other.own_cost;
        self.live_cost += other.live_cost;
        self.predicted += other.predicted;
        self.own_latency += other.own_latency;
        self.live_latency += other.live_latency;
    }
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
    /// Why requests or attempts failed.
    pub failure_kinds: NameTable,
    /// The shadow policies.
    pub shadows: Vec<RecordedShadow>,
    /// The first and the last sequence number of its rows, if they have any.
    pub seq: Option<(u64, u64)>,
    /// When the clock of a client's file was zero, in Unix seconds, if the file says.
    pub began: Option<f64>,
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
            failure_kinds: NameTable::default(),
            shadows: Vec::new(),
            seq: None,
            began: None,
            requests: Vec::new(),
            decisions: Vec::new(),
        }
    }

    /// Extends the range of sequence numbers.
    pub(crate) fn note_seq(&mut self, seq: u64) {
        let (first, last) = self.seq.unwrap_or((seq, seq));
        self.seq = Some((first.min(seq), last.max(seq)));
    }

    /// Whether `next` is the next file of the same recording: the numbers of its rows continue those of this one.
    pub(crate) fn continues_in(&self, next: &Self) -> bool {
        let follows = self.seq.zip(next.seq).is_some_and(|((_, last), (first, _))| first > last);
        self.kind == FileKind::Recorder && self.kind == next.kind && self.policy == next.policy && follows
    }

    /// Adds the next file of the same recording.
    pub(crate) fn append(&mut self, next: Self) {
        let workers = self.workers.merge(&next.workers);
        let reasons = self.reasons.merge(&next.reasons);
        let classes = self.forecast_classes.merge(&next.forecast_classes);
        let failures = self.failure_kinds.merge(&next.failure_kinds);
        let to = |table: &[u32], index: u32| table[index as usize];
        for shadow in next.shadows {
            let known = self.decisions.len();
            let own = self.shadow(&shadow.policy);
            own.choices.resize(known, None);
            own.choices.extend(shadow.choices.iter().map(|choice| choice.map(|worker| to(&workers, worker))));
        }
        self.requests.extend(next.requests.into_iter().map(|request| {
            RecordedRequest {
                worker: request.worker.map(|worker| to(&workers, worker)),
                failure: request.failure.map(|kind| to(&failures, kind)),
                forecast: request
                    .forecast
                    .map(|forecast| RecordedForecast { class: to(&classes, forecast.class), ..forecast }),
                ..request
            }
        }));
        self.decisions.extend(next.decisions.into_iter().map(|decision| RecordedDecision {
            worker: to(&workers, decision.worker),
            reason: to(&reasons, decision.reason),
            ..decision
        }));
        if let Some((_, last)) = next.seq {
            self.note_seq(last);
        }
    }

    /// The shadow policy of this name, which is added if it is new.
    pub(crate) fn shadow(&mut self, policy: &str) -> &mut RecordedShadow {
        let at = self.shadows.iter().position(|shadow| shadow.policy == policy).unwrap_or_else(|| {
            let policy = policy.to_owned();
            self.shadows.push(RecordedShadow { policy, choices: Vec::new(), ratings: None });
            self.shadows.len() - 1
        });
        &mut self.shadows[at]
    }

    /// When its first request was sent and its last one ended, in Unix seconds, if the file says.
    pub(crate) fn period(&self) -> Option<(f64, f64)> {
        let zero = match self.kind {
            FileKind::Recorder => 0.0,
            FileKind::Client => self.began?,
        };
        let first = self.requests.iter().filter_map(|request| request.start).reduce(f64::min)?;
        let last = self.requests.iter().filter_map(|request| request.end).reduce(f64::max)?;
        Some((zero + first, zero + last))
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
    /// The run; absent if nothing in the file could be used, or it is no run.
    pub run: Option<RecordedRun>,
    /// The results of a simulation, if the file has them.
    pub simulation: Option<SimulationReport>,
    /// The problems of the file.
    pub problems: Vec<FileProblem>,
}
