//! What a decision and a completion look like as rows.

use super::row::{CANDIDATE_COLUMNS, Cell, Column, FileRow, digits, write};
use crate::clock::Clock;
use crate::record::{AttemptInfo, CompletionRecord, DecisionRecord};
use router_config::{RecordConfig, RecordFormat};
use router_core::{CandidateScore, ScoreTerms, Time, WorkerId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// The reason that marks a completion's row.
const COMPLETION: &str = "completion_record";

/// Writes rows.
#[derive(Debug)]
pub(crate) struct Encoder {
    format: RecordFormat,
    clock: Clock,
    policy: String,
    /// Decisions so far, in all and by worker.
    decisions: u64,
    per_worker: HashMap<Arc<str>, u64>,
    /// The second that was last written, and its text.
    second: RefCell<(u64, String)>,
}

impl Encoder {
    pub(crate) fn new(config: &RecordConfig, policy: String, clock: Clock) -> Self {
        Self {
            format: config.format,
            clock,
            policy,
            decisions: 0,
            per_worker: HashMap::new(),
            second: RefCell::default(),
        }
    }

    /// The header line, if the format has one.
    pub(crate) fn header(&self, columns: &[&str]) -> Option<String> {
        (self.format == RecordFormat::Csv).then(|| columns.join(",") + "\n")
    }

    /// Writes a decision's row.
    pub(crate) fn decision(&mut self, d: &DecisionRecord, to: &mut Vec<u8>) {
        let chosen = d.chosen.as_ref();
        let term = |name: &str| Cell::float(chosen.and_then(|s| s.terms.get(name)));
        let score = chosen.and_then(|s| s.terms.get("score")).or(d.decision.cost.map(|c| -c));
        let window = chosen.and_then(|s| s.terms.get("window_size"));
        let runner_up = d.decision.runner_up;
        let share = self.share(d);
        let (stamp, id, shadows) = (self.stamp(d.at), d.info.id(), shadow_choices(d));
        let mut row = self.row(&d.info, [&stamp, &d.worker.name, &id]);
        row.set([
            (Column::ThroughputGradient, term("throughput_gradient")),
            (Column::LatencyGradient, term("latency_gradient")),
            (Column::Score, Cell::float(score)),
            (Column::OutstandingRequests, Cell::Int(d.snapshot.in_flight.into())),
            (Column::AvgThroughput, term("avg_throughput")),
            (Column::AvgLatency, term("avg_latency")),
            (Column::WindowSize, Cell::int(window.map(whole))),
            (Column::SelectionReason, Cell::Word(d.decision.reason.as_str())),
            (Column::DecisionTimeMs, Cell::Float(d.took.as_secs_f64() * 1e3)),
            (Column::Kind, Cell::Word("decision")),
            (Column::Seq, Cell::Int(d.snapshot.seq)),
            (Column::Candidates, Cell::Int(d.snapshot.candidates.into())),
        ]);
        row.set([
            (Column::Cost, Cell::float(d.decision.cost)),
            (Column::RunnerUp, runner_up.map_or(Cell::Unknown, |(id, _)| Cell::text(d.url(id)))),
            (Column::RunnerUpCost, Cell::float(runner_up.map(|(_, cost)| cost))),
            (Column::Margin, Cell::float(d.decision.margin())),
            (Column::Ties, Cell::Int(d.decision.ties.into())),
            (Column::WorkerShare, Cell::Float(share)),
            (Column::QueueLength, Cell::int(d.snapshot.waiting)),
            (Column::Running, Cell::int(d.snapshot.running)),
            (Column::PredictedLatency, term("own_latency")),
            (Column::PredictedTtft, term("ttft")),
            (Column::ShadowChoices, shadows.as_deref().map_or(Cell::Unknown, Cell::text)),
            (Column::PromptTokens, Cell::int(d.info.prompt_tokens)),
        ]);
        row.write(self.format, to);
    }

    /// Writes a completion's row.
    pub(crate) fn completion(&self, c: &CompletionRecord, to: &mut Vec<u8>) {
        let (done, finish) = (&c.completion, &c.completion.result);
        let latency = done.finished_at.since(done.dispatched_at);
        let usage = finish.usage;
        let throughput = usage.output_tokens.map(|n| f64::from(n) / latency.as_secs_f64());
        let timing = finish.timing;
        let queue_time = timing.queue_time.or_else(|| Some(timing.queue_end? - timing.queue_start?));
        let load = finish.load;
        let time = |t: Option<Time>| Cell::seconds(t.map(|t| self.clock.unix(t)));
        let (stamp, id) = (self.stamp(done.finished_at), c.info.id());
        let mut row = self.row(&c.info, [&stamp, &c.worker.name, &id]);
        row.set([
            (Column::OutstandingRequests, Cell::Int(c.in_flight.into())),
            (Column::AvgThroughput, Cell::float(throughput)),
            (Column::AvgLatency, Cell::Seconds(latency)),
            (Column::SelectionReason, Cell::Word(COMPLETION)),
            (Column::ActualOutputTokens, Cell::int(usage.output_tokens)),
            (Column::ServerLatency, Cell::Seconds(latency)),
            (Column::QueueTime, Cell::float(queue_time)),
            (Column::Ttft, ttft(c)),
            (Column::Kind, Cell::Word("completion")),
            (Column::Seq, Cell::Int(done.seq)),
            (Column::QueueLength, Cell::int(load.and_then(|l| l.waiting))),
            (Column::Running, Cell::int(load.and_then(|l| l.running))),
        ]);
        row.set([
            (Column::Status, Cell::int(finish.status)),
            (Column::Outcome, Cell::Word(finish.outcome.as_str())),
            (Column::Error, c.error.map_or(Cell::Unknown, Cell::Word)),
            (Column::PromptTokens, Cell::int(usage.prompt_tokens)),
            (Column::CachedTokens, Cell::int(usage.cached_tokens)),
            (
                Column::TokensEstimated,
                usage.output_tokens.map_or(Cell::Unknown, |_| Cell::Flag(usage.estimated)),
            ),
            (Column::TotalLatency, Cell::Seconds(done.finished_at.since(c.info.received_at))),
            (Column::DispatchTime, time(Some(done.dispatched_at))),
            (Column::FirstByteTime, time(finish.first_byte_at)),
            (Column::FinishTime, time(Some(done.finished_at))),
            (Column::ServerE2eLatency, Cell::float(timing.e2e_latency)),
        ]);
        row.write(self.format, to);
    }

    /// Calls `line` with a row for every candidate of the decision, those of its shadows included.
    pub(crate) fn candidates(&self, d: &DecisionRecord, mut line: impl FnMut(&[u8])) {
        let (stamp, id) = (self.stamp(d.at), d.info.id());
        let mut bytes = Vec::new();
        let mut rows = |policy: &str, role, decided: WorkerId, scores: &[CandidateScore]| {
            for score in scores {
                let terms = terms(&score.terms);
                let cells = [
                    Cell::Word(&stamp),
                    Cell::text(&id),
                    Cell::Int(d.info.attempt.into()),
                    Cell::Int(d.snapshot.seq),
                    Cell::text(policy),
                    Cell::Word(role),
                    Cell::text(d.url(score.worker)),
                    Cell::Flag(score.worker == decided),
                    Cell::Float(score.cost),
                    Cell::Json(&terms),
                ];
                bytes.clear();
                write(self.format, CANDIDATE_COLUMNS, &cells, &mut bytes);
                line(&bytes);
            }
        };
        rows(&self.policy, "live", d.decision.worker, &d.scores);
        for shadow in &d.shadows {
            rows(&shadow.policy, "shadow", shadow.decision.worker, &shadow.scores);
        }
    }

    /// A row with what every row says; the texts are the time, the worker's URL and the request's id.
    fn row<'a>(&'a self, info: &AttemptInfo, [stamp, url, id]: [&'a str; 3]) -> FileRow<'a> {
        let mut row = FileRow::new();
        row.set([
            (Column::Timestamp, Cell::Word(stamp)),
            (Column::WorkerUrl, Cell::text(url)),
            (Column::RequestId, Cell::text(id)),
            (Column::Attempt, Cell::Int(info.attempt.into())),
            (Column::Policy, Cell::text(&self.policy)),
            (Column::Route, Cell::Word(info.route.as_str())),
            (Column::Stream, Cell::Flag(info.stream)),
            (Column::Batch, Cell::Int(info.batch.into())),
            (Column::PromptBytes, Cell::Int(info.prompt_bytes)),
            (Column::MaxOutputTokens, Cell::int(info.max_output_tokens)),
            (Column::ReceivedTime, Cell::Seconds(self.clock.unix(info.received_at))),
        ]);
        row
    }

    /// `2026-11-22 17:20:01.123456`, UTC. The part up to the second is made once a second.
    fn stamp(&self, at: Time) -> String {
        let unix = self.clock.unix(at);
        let mut second = self.second.borrow_mut();
        if second.0 != unix.as_secs() {
            let secs = i64::try_from(unix.as_secs()).unwrap_or(i64::MAX);
            let time = jiff::Timestamp::from_second(secs).unwrap_or_default();
            *second = (unix.as_secs(), time.strftime("%Y-%m-%d %H:%M:%S.").to_string());
        }
        let mut text = Vec::with_capacity(26);
        text.extend_from_slice(second.1.as_bytes());
        digits::<6>(unix.subsec_micros(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn share(&mut self, d: &DecisionRecord) -> f64 {
        self.decisions += 1;
        let own = self.per_worker.entry(Arc::clone(&d.worker.name)).or_default();
        *own += 1;
        *own as f64 / self.decisions as f64
    }
}

/// Time from sending to the first byte. The first byte of an answer that is not streamed is also its last, so such an
/// answer has none.
fn ttft(c: &CompletionRecord) -> Cell<'static> {
    let first = c.completion.result.first_byte_at.filter(|_| c.info.stream);
    Cell::seconds(first.map(|t| t.since(c.completion.dispatched_at)))
}

fn shadow_choices(d: &DecisionRecord) -> Option<String> {
    let choices = d.shadows.iter().map(|s| format!("{}={}", s.policy, d.url(s.decision.worker)));
    (!d.shadows.is_empty()).then(|| choices.collect::<Vec<_>>().join(";"))
}

fn terms(terms: &ScoreTerms) -> String {
    let known = terms.as_slice().iter().filter(|t| t.value.is_finite());
    let object: serde_json::Map<_, _> = known.map(|t| (t.name.to_owned(), t.value.into())).collect();
    serde_json::Value::Object(object).to_string()
}

/// A count that travelled as a term.
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}
