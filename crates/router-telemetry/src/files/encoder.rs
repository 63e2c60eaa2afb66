//! Encodes decisions and completions as rows of the record files.

use super::row::{CANDIDATE_COLUMNS, CellValue, Column, RowWriter, write_row};
use crate::attempt_info::AttemptInfo;
use crate::clock::Clock;
use crate::policy_names::PolicyNames;
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
    policies: Arc<PolicyNames>,
    /// The model that the workers serve, once it is known.
    model: Option<Arc<str>>,
    /// Decisions so far.
    decisions: u64,
    /// Decisions so far, by worker name.
    per_worker: HashMap<Arc<str>, u64>,
    /// The Unix second of the last time stamp, and its text.
    last_second: RefCell<(u64, Arc<str>)>,
}

impl RowEncoder {
    pub(crate) fn new(config: &RecordConfig, policies: Arc<PolicyNames>, clock: Clock) -> Self {
        Self {
            format: config.format,
            clock,
            policies,
            model: None,
            decisions: 0,
            per_worker: HashMap::new(),
            last_second: RefCell::new((0, Arc::from(""))),
        }
    }

    pub(crate) fn set_model(&mut self, model: &Arc<str>) {
        self.model = Some(Arc::clone(model));
    }

    fn model(&self) -> CellValue<'_> {
        self.model.as_deref().map_or(CellValue::Unknown, CellValue::text)
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
        let (stamp, id, shadows) =
            (self.timestamp(d.at), d.info.request_id.as_str(), shadow_choices(d, names));
        let mut row = RowWriter::new(self.format, to);
        row.put(Column::Timestamp, stamp.cell());
        row.put(Column::WorkerUrl, CellValue::text(worker));
        row.put(Column::RequestId, CellValue::text(id));
        row.put(Column::ThroughputGradient, term("throughput_gradient"));
        row.put(Column::LatencyGradient, term("latency_gradient"));
        row.put(Column::Score, CellValue::float(score));
        row.put(Column::OutstandingRequests, CellValue::Int(d.snapshot.in_flight.into()));
        row.put(Column::AvgThroughput, term("avg_throughput"));
        row.put(Column::AvgLatency, term("avg_latency"));
        row.put(Column::WindowSize, CellValue::int(window.map(to_count)));
        row.put(Column::SelectionReason, CellValue::Word(d.decision.reason.as_str()));
        row.put(Column::DecisionTimeMs, CellValue::Float(d.took.as_secs_f64() * 1e3));
        row.put(Column::Kind, CellValue::Word("decision"));
        row.put(Column::Seq, CellValue::Int(d.snapshot.seq));
        self.put_request(&d.info, &mut row);
        row.put(Column::Candidates, CellValue::Int(d.snapshot.candidates.into()));
        row.put(Column::Cost, CellValue::float(d.decision.cost));
        row.put(
            Column::RunnerUp,
            runner_up.map_or(CellValue::Unknown, |(id, _)| CellValue::text(names.name(id))),
        );
        row.put(Column::RunnerUpCost, CellValue::float(runner_up.map(|(_, cost)| cost)));
        row.put(Column::Margin, CellValue::float(d.decision.margin()));
        row.put(Column::Ties, CellValue::Int(d.decision.ties.into()));
        row.put(Column::WorkerShare, CellValue::Float(share));
        row.put(Column::QueueLength, CellValue::int(d.snapshot.waiting));
        row.put(Column::Running, CellValue::int(d.snapshot.running));
        row.put(Column::PredictedLatency, term("own_latency"));
        row.put(Column::PredictedTtft, term("ttft"));
        row.put(Column::ShadowChoices, shadows.as_deref().map_or(CellValue::Unknown, CellValue::text));
        row.put(Column::PromptTokens, CellValue::int(d.info.prompt_tokens));
        row.put(Column::ReceivedTime, CellValue::Seconds(self.clock.unix(d.info.received_at)));
        row.put(Column::PredictedCachedTokens, CellValue::int(d.decision.predicted_cached_tokens));
        row.put(Column::Model, self.model());
        row.end();
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
        let (stamp, id) = (self.timestamp(done.finished_at), c.info.request_id.as_str());
        let mut row = RowWriter::new(self.format, to);
        row.put(Column::Timestamp, stamp.cell());
        row.put(Column::WorkerUrl, CellValue::text(names.name(done.worker)));
        row.put(Column::RequestId, CellValue::text(id));
        row.put(Column::OutstandingRequests, CellValue::Int(c.in_flight.into()));
        row.put(Column::AvgThroughput, CellValue::float(throughput));
        row.put(Column::AvgLatency, CellValue::Seconds(latency));
        row.put(Column::SelectionReason, CellValue::Word(COMPLETION));
        row.put(Column::ActualOutputTokens, CellValue::int(usage.output_tokens));
        row.put(Column::ServerLatency, CellValue::Seconds(latency));
        row.put(Column::QueueTime, CellValue::float(done.queue_time()));
        row.put(Column::Ttft, CellValue::seconds(c.info.time_to_first_byte(done, done.dispatched_at)));
        row.put(Column::Kind, CellValue::Word("completion"));
        row.put(Column::Seq, CellValue::Int(done.seq));
        self.put_request(&c.info, &mut row);
        row.put(Column::QueueLength, CellValue::int(load.and_then(|l| l.waiting)));
        row.put(Column::Running, CellValue::int(load.and_then(|l| l.running)));
        row.put(Column::Status, CellValue::int(finish.status));
        row.put(Column::Outcome, CellValue::Word(finish.outcome.as_str()));
        row.put(Column::Error, c.error.map_or(CellValue::Unknown, CellValue::Word));
        row.put(Column::PromptTokens, CellValue::int(usage.prompt_tokens));
        row.put(Column::CachedTokens, CellValue::int(usage.cached_tokens));
        row.put(
            Column::TokensEstimated,
            usage.output_tokens.map_or(CellValue::Unknown, |_| CellValue::Flag(usage.estimated)),
        );
        row.put(Column::TotalLatency, CellValue::Seconds(c.info.total_latency(done)));
        row.put(Column::ReceivedTime, CellValue::Seconds(self.clock.unix(c.info.received_at)));
        row.put(Column::DispatchTime, time(Some(done.dispatched_at)));
        row.put(Column::FirstByteTime, time(finish.first_byte_at));
        row.put(Column::FinishTime, time(Some(done.finished_at)));
        row.put(Column::ServerE2eLatency, CellValue::float(timing.e2e_latency));
        if let Some(forecast) = done.forecast {
            row.put(Column::ForecastClass, CellValue::Word(forecast.class.as_str()));
            row.put(Column::ForecastOutputTokens, CellValue::short(Some(forecast.mean)));
            row.put(Column::ForecastRank, CellValue::short(forecast.rank));
        }
        row.put(Column::PredictedCachedTokens, CellValue::int(done.predicted_cached_tokens));
        row.put(Column::Model, self.model());
        row.end();
    }

    /// Calls `write_line` with a row for every candidate of the decision, including those of its shadow policies.
    pub(crate) fn encode_candidates(
        &self,
        d: &DecisionRecord,
        names: &WorkerNames,
        mut write_line: impl FnMut(&[u8]),
    ) {
        let (stamp, id) = (self.timestamp(d.at), d.info.request_id.as_str());
        let mut bytes = Vec::new();
        let mut rows = |policy: &str, role, decided: WorkerId, scores: &[CandidateScore]| {
            for score in scores {
                let terms = terms_json(&score.terms);
                let cells = [
                    stamp.cell(),
                    CellValue::text(id),
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
        rows(&self.policies.name(d.info.policy), "live", d.decision.worker, &d.scores);
        for shadow in &d.shadows {
            rows(&shadow.policy, "shadow", shadow.decision.worker, &shadow.scores);
        }
    }

    /// The columns on the request, which decisions and completions share, from the attempt to the most tokens.
    fn put_request(&self, info: &AttemptInfo, row: &mut RowWriter<'_>) {
        row.put(Column::Attempt, CellValue::Int(info.attempt.into()));
        let policy = self.policies.name(info.policy);
        row.put(Column::Policy, CellValue::text(&policy));
        row.put(Column::Route, CellValue::Word(info.route.as_str()));
        row.put(Column::Stream, CellValue::Flag(info.stream));
        row.put(Column::Batch, CellValue::Int(info.batch.into()));
        row.put(Column::PromptBytes, CellValue::Int(info.prompt_bytes));
        row.put(Column::MaxOutputTokens, CellValue::int(info.max_output_tokens));
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
