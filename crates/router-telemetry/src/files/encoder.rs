//! Encodes decisions and completions as rows of the record files.

use super::row::{CANDIDATE_COLUMNS, CellValue, Column, RecordRow, write_row};
use crate::attempt_info::AttemptInfo;
use crate::clock::Clock;
use crate::record::{CompletionRecord, DecisionRecord};
use crate::worker::WorkerNames;
use router_config::{RecordConfig, RecordFormat};
use router_core::{CandidateScore, ScoreTerms, Time, WorkerId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// The reason that marks a completion's row.
const COMPLETION: &str = "completion_record";

/// Encodes records as rows.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    format: RecordFormat,
    clock: Clock,
    policy: String,
    /// Decisions so far.
    decisions: u64,
    /// Decisions so far, by worker name.
    per_worker: HashMap<Arc<str>, u64>,
    /// The Unix second of the last time stamp, and its text.
    last_second: RefCell<(u64, Arc<str>)>,
}

impl RowEncoder {
    pub(crate) fn new(config: &RecordConfig, policy: String, clock: Clock) -> Self {
        Self {
            format: config.format,
            clock,
            policy,
            decisions: 0,
            per_worker: HashMap::new(),
            last_second: RefCell::new((0, Arc::from(""))),
        }
    }

    /// The header line, if the format has one.
    pub(crate) fn header(&self, columns: &[&str]) -> Option<String> {
        (self.format == RecordFormat::Csv).then(|| columns.join(",") + "\n")
    }

    /// Writes a decision's row.
    pub(crate) fn encode_decision(&mut self, d: &DecisionRecord, names: &WorkerNames, to: &mut Vec<u8>) {
        let chosen = d.chosen.as_ref();
        let term = |name: &str| CellValue::float(chosen.and_then(|s| s.terms.get(name)));
        let score = chosen.and_then(|s| s.terms.get("score")).or(d.decision.cost.map(|c| -c));
        let window = chosen.and_then(|s| s.terms.get("window_size"));
        let runner_up = d.decision.runner_up;
        let worker = names.name(d.decision.worker);
        let share = self.worker_share(worker);
        let (stamp, id, shadows) = (self.timestamp(d.at), d.info.id(), shadow_choices(d, names));
        let mut row = self.base_row(&d.info, &stamp, worker, &id);
        row.set([
            (Column::ThroughputGradient, term("throughput_gradient")),
            (Column::LatencyGradient, term("latency_gradient")),
            (Column::Score, CellValue::float(score)),
            (Column::OutstandingRequests, CellValue::Int(d.snapshot.in_flight.into())),
            (Column::AvgThroughput, term("avg_throughput")),
            (Column::AvgLatency, term("avg_latency")),
            (Column::WindowSize, CellValue::int(window.map(to_count))),
            (Column::SelectionReason, CellValue::Word(d.decision.reason.as_str())),
            (Column::DecisionTimeMs, CellValue::Float(d.took.as_secs_f64() * 1e3)),
            (Column::Kind, CellValue::Word("decision")),
            (Column::Seq, CellValue::Int(d.snapshot.seq)),
            (Column::Candidates, CellValue::Int(d.snapshot.candidates.into())),
        ]);
        row.set([
            (Column::Cost, CellValue::float(d.decision.cost)),
            (
                Column::RunnerUp,
                runner_up.map_or(CellValue::Unknown, |(id, _)| CellValue::text(names.name(id))),
            ),
            (Column::RunnerUpCost, CellValue::float(runner_up.map(|(_, cost)| cost))),
            (Column::Margin, CellValue::float(d.decision.margin())),
            (Column::Ties, CellValue::Int(d.decision.ties.into())),
            (Column::WorkerShare, CellValue::Float(share)),
            (Column::QueueLength, CellValue::int(d.snapshot.waiting)),
            (Column::Running, CellValue::int(d.snapshot.running)),
            (Column::PredictedLatency, term("own_latency")),
            (Column::PredictedTtft, term("ttft")),
            (Column::ShadowChoices, shadows.as_deref().map_or(CellValue::Unknown, CellValue::text)),
            (Column::PromptTokens, CellValue::int(d.info.prompt_tokens)),
        ]);
        row.write(self.format, to);
    }

    /// Writes a completion's row.
    pub(crate) fn encode_completion(&self, c: &CompletionRecord, names: &WorkerNames, to: &mut Vec<u8>) {
        let (done, finish) = (&c.completion, &c.completion.result);
        let latency = done.finished_at.since(done.dispatched_at);
        let usage = finish.usage;
        let throughput = usage.output_tokens.map(|n| f64::from(n) / latency.as_secs_f64());
        let timing = finish.timing;
        let load = finish.load;
        let time = |t: Option<Time>| CellValue::seconds(t.map(|t| self.clock.unix(t)));
        let (stamp, id) = (self.timestamp(done.finished_at), c.info.id());
        let mut row = self.base_row(&c.info, &stamp, names.name(done.worker), &id);
        row.set([
            (Column::OutstandingRequests, CellValue::Int(c.in_flight.into())),
            (Column::AvgThroughput, CellValue::float(throughput)),
            (Column::AvgLatency, CellValue::Seconds(latency)),
            (Column::SelectionReason, CellValue::Word(COMPLETION)),
            (Column::ActualOutputTokens, CellValue::int(usage.output_tokens)),
            (Column::ServerLatency, CellValue::Seconds(latency)),
            (Column::QueueTime, CellValue::float(done.queue_time())),
            (Column::Ttft, CellValue::seconds(c.info.time_to_first_byte(done, done.dispatched_at))),
            (Column::Kind, CellValue::Word("completion")),
            (Column::Seq, CellValue::Int(done.seq)),
            (Column::QueueLength, CellValue::int(load.and_then(|l| l.waiting))),
            (Column::Running, CellValue::int(load.and_then(|l| l.running))),
        ]);
        row.set([
            (Column::Status, CellValue::int(finish.status)),
            (Column::Outcome, CellValue::Word(finish.outcome.as_str())),
            (Column::Error, c.error.map_or(CellValue::Unknown, CellValue::Word)),
            (Column::PromptTokens, CellValue::int(usage.prompt_tokens)),
            (Column::CachedTokens, CellValue::int(usage.cached_tokens)),
            (
                Column::TokensEstimated,
                usage.output_tokens.map_or(CellValue::Unknown, |_| CellValue::Flag(usage.estimated)),
            ),
            (Column::TotalLatency, CellValue::Seconds(c.info.total_latency(done))),
            (Column::DispatchTime, time(Some(done.dispatched_at))),
            (Column::FirstByteTime, time(finish.first_byte_at)),
            (Column::FinishTime, time(Some(done.finished_at))),
            (Column::ServerE2eLatency, CellValue::float(timing.e2e_latency)),
        ]);
        row.write(self.format, to);
    }

    /// Calls `write_line` with a row for every candidate of the decision, including those of its shadow policies.
    pub(crate) fn encode_candidates(
        &self,
        d: &DecisionRecord,
        names: &WorkerNames,
        mut write_line: impl FnMut(&[u8]),
    ) {
        let (stamp, id) = (self.timestamp(d.at), d.info.id());
        let mut bytes = Vec::new();
        let mut rows = |policy: &str, role, decided: WorkerId, scores: &[CandidateScore]| {
            for score in scores {
                let terms = terms_json(&score.terms);
                let cells = [
                    stamp.cell(),
                    CellValue::text(&id),
                    CellValue::Int(d.info.attempt.into()),
                    CellValue::Int(d.snapshot.seq),
                    CellValue::text(policy),
                    CellValue::Word(role),
                    CellValue::text(names.name(score.worker)),
                    CellValue::Flag(score.worker == decided),
                    CellValue::Float(score.cost),
                    CellValue::Json(&terms),
                ];
                bytes.clear();
                write_row(self.format, CANDIDATE_COLUMNS, &cells, &mut bytes);
                write_line(&bytes);
            }
        };
        rows(&self.policy, "live", d.decision.worker, &d.scores);
        for shadow in &d.shadows {
            rows(&shadow.policy, "shadow", shadow.decision.worker, &shadow.scores);
        }
    }

    /// A row with the columns that decisions and completions share.
    fn base_row<'a>(
        &'a self,
        info: &AttemptInfo,
        stamp: &'a Timestamp,
        worker: &'a str,
        id: &'a str,
    ) -> RecordRow<'a> {
        let mut row = RecordRow::new();
        row.set([
            (Column::Timestamp, stamp.cell()),
            (Column::WorkerUrl, CellValue::text(worker)),
            (Column::RequestId, CellValue::text(id)),
            (Column::Attempt, CellValue::Int(info.attempt.into())),
            (Column::Policy, CellValue::text(&self.policy)),
            (Column::Route, CellValue::Word(info.route.as_str())),
            (Column::Stream, CellValue::Flag(info.stream)),
            (Column::Batch, CellValue::Int(info.batch.into())),
            (Column::PromptBytes, CellValue::Int(info.prompt_bytes)),
            (Column::MaxOutputTokens, CellValue::int(info.max_output_tokens)),
            (Column::ReceivedTime, CellValue::Seconds(self.clock.unix(info.received_at))),
        ]);
        row
    }

    /// A time stamp such as `2026-11-22 17:20:01.123456`, UTC. The part up to the second is formatted once a second.
    fn timestamp(&self, at: Time) -> Timestamp {
        let unix = self.clock.unix(at);
        let mut second = self.last_second.borrow_mut();
        if second.0 != unix.as_secs() {
            let secs = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
            let time = jiff::Timestamp::from_second(secs).unwrap_or_default();
            *second = (unix.as_secs(), time.strftime("%Y-%m-%d %H:%M:%S.").to_string().into());
        }
        Timestamp { second: Arc::clone(&second.1), micros: unix.subsec_micros() }
    }

    /// The share of the worker of this name in all decisions so far, this one included.
    fn worker_share(&mut self, worker: &Arc<str>) -> f64 {
        self.decisions += 1;
        let own = match self.per_worker.get_mut(worker) {
            Some(own) => own,
            None => {
                // Workers that have left: only this table has their names.
                self.per_worker.retain(|name, _| Arc::strong_count(name) > 1);
                self.per_worker.entry(Arc::clone(worker)).or_default()
            }
        };
        *own += 1;
        *own as f64 / self.decisions as f64
    }
}

/// A time, as text up to its second.
#[derive(Debug)]
struct Timestamp {
    second: Arc<str>,
    micros: u32,
}

impl Timestamp {
    fn cell(&self) -> CellValue<'_> {
        CellValue::Timestamp(&self.second, self.micros)
    }
}

fn shadow_choices(d: &DecisionRecord, names: &WorkerNames) -> Option<String> {
    let choices = d.shadows.iter().map(|s| format!("{}={}", s.policy, names.name(s.decision.worker)));
    (!d.shadows.is_empty()).then(|| choices.collect::<Vec<_>>().join(";"))
}

fn terms_json(terms: &ScoreTerms) -> String {
    let known = terms.as_slice().iter().filter(|t| t.value.is_finite());
    let object: serde_json::Map<_, _> = known.map(|t| (t.name.to_owned(), t.value.into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// A count that is passed as a term.
fn to_count(value: f64) -> u64 {
    value.round().max(0.0) as u64
}
