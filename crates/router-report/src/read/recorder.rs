//! Reads a recorder's file: a row per decision and a row per completion.

use super::request_id;
use super::rows::{ColumnIndex, RowReader, RowView};
use crate::run::{
    FileKind, NameTable, PlannedLengths, RecordedDecision, RecordedForecast, RecordedRequest, RecordedRun,
};

/// The reason in the row of a completion.
pub(crate) const COMPLETION: &[u8] = b"completion_record";

/// What a row records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RowKind {
    /// A worker was chosen.
    Decision,
    /// A request finished.
    Completion,
}

/// The indices of the columns that are read, if the file has them.
pub(crate) struct ColumnIndices {
    pub(crate) timestamp: ColumnIndex,
    pub(crate) worker: ColumnIndex,
    pub(crate) request_id: ColumnIndex,
    pub(crate) throughput_gradient: ColumnIndex,
    pub(crate) latency_gradient: ColumnIndex,
    pub(crate) score: ColumnIndex,
    pub(crate) window_size: ColumnIndex,
    pub(crate) avg_throughput: ColumnIndex,
    pub(crate) avg_latency: ColumnIndex,
    pub(crate) reason: ColumnIndex,
    pub(crate) tokens: ColumnIndex,
    pub(crate) server_latency: ColumnIndex,
    pub(crate) finish_time: ColumnIndex,
    pub(crate) seq: ColumnIndex,
    pub(crate) outcome: ColumnIndex,
    queue_time: ColumnIndex,
    queue_length: ColumnIndex,
    ttft: ColumnIndex,
    decision_time: ColumnIndex,
    kind: ColumnIndex,
    policy: ColumnIndex,
    status: ColumnIndex,
    forecast_class: ColumnIndex,
    forecast_tokens: ColumnIndex,
    forecast_rank: ColumnIndex,
    predicted_cached: ColumnIndex,
    cached: ColumnIndex,
    prompt_tokens: ColumnIndex,
    prompt_bytes: ColumnIndex,
    max_output: ColumnIndex,
    attempt: ColumnIndex,
    error: ColumnIndex,
    shadow_choices: ColumnIndex,
}

impl ColumnIndices {
    pub(crate) fn of(table: &RowReader) -> Self {
        let column = |name| table.column(name);
        Self {
            timestamp: column("timestamp"),
            worker: column("worker_url"),
            request_id: column("request_id"),
            throughput_gradient: column("throughput_gradient"),
            latency_gradient: column("latency_gradient"),
            score: column("score"),
            window_size: column("window_size"),
            avg_throughput: column("avg_throughput"),
            avg_latency: column("avg_latency"),
            reason: column("selection_reason"),
            tokens: column("actual_output_tokens"),
            server_latency: column("server_latency"),
            finish_time: column("finish_time"),
            seq: column("seq"),
            outcome: column("outcome"),
            queue_time: column("queue_time"),
            queue_length: column("queue_length"),
            ttft: column("ttft"),
            decision_time: column("decision_time_ms"),
            kind: column("kind"),
            policy: column("policy"),
            status: column("status"),
            forecast_class: column("forecast_class"),
            forecast_tokens: column("forecast_output_tokens"),
            forecast_rank: column("forecast_rank"),
            predicted_cached: column("predicted_cached_tokens"),
            cached: column("cached_tokens"),
            prompt_tokens: column("prompt_tokens"),
            prompt_bytes: column("prompt_bytes"),
            max_output: column("max_output_tokens"),
            attempt: column("attempt"),
            error: column("error"),
            shadow_choices: column("shadow_choices"),
        }
    }

    /// What the row records. Old files without a `kind` column say it in the reason.
    pub(crate) fn row_kind(&self, row: &RowView<'_>) -> RowKind {
        let completion = row.text(self.kind) == b"completion" || row.text(self.reason) == COMPLETION;
        if completion { RowKind::Completion } else { RowKind::Decision }
    }

    /// Whether the request of a completion's row succeeded.
    pub(crate) fn succeeded(&self, row: &mut RowView<'_>) -> bool {
        match row.text(self.outcome) {
            // Old files without an outcome contain successful requests, or a status.
            b"" => row.number(self.status).is_none_or(|status| (200.0..300.0).contains(&status)),
            outcome => outcome == b"success",
        }
    }
}

/// Reads all rows into a run.
pub(crate) fn read(name: String, table: &mut RowReader) -> RecordedRun {
    let columns = ColumnIndices::of(table);
    let mut run = RecordedRun::new(name, FileKind::Recorder);
    while let Some(mut row) = table.next() {
        run.set_policy(row.text(columns.policy));
        if let Some(seq) = row.number(columns.seq) {
            run.note_seq(seq as u64);
        }
        match columns.row_kind(&row) {
            RowKind::Decision => {
                note_shadows(&row, &columns, &mut run);
                run.decisions.push(decision(&mut row, &columns, &mut run.workers, &mut run.reasons));
            }
            RowKind::Completion => {
                let request = request(&mut row, &columns, &mut run);
                run.requests.push(request);
            }
        }
    }
    run
}

fn decision(
    row: &mut RowView<'_>,
    columns: &ColumnIndices,
    workers: &mut NameTable,
    reasons: &mut NameTable,
) -> RecordedDecision {
    RecordedDecision {
        at: row.unix_nanos(columns.timestamp).map(seconds),
        worker: workers.index(row.text(columns.worker)),
        reason: reasons.index(row.text(columns.reason)),
        throughput_gradient: row.number(columns.throughput_gradient),
        latency_gradient: row.number(columns.latency_gradient),
        score: row.number(columns.score),
        took_ms: row.number(columns.decision_time),
        attempt: row.count(columns.attempt).unwrap_or(0),
        seq: row.number(columns.seq).map(|seq| seq as u64),
    }
}

fn request(row: &mut RowView<'_>, columns: &ColumnIndices, run: &mut RecordedRun) -> RecordedRequest {
    let end = row.unix_nanos(columns.timestamp).map(seconds);
    let latency = row.number(columns.server_latency);
    let ok = columns.succeeded(row);
    let failure = (!ok).then(|| run.failure_kinds.index(failure_kind(row, columns)));
    RecordedRequest {
        worker: Some(run.workers.index(row.text(columns.worker))),
        ok,
        start: end.zip(latency).map(|(end, latency)| end - latency),
        end,
        latency,
        ttft: row.number(columns.ttft),
        output_tokens: row.number(columns.tokens),
        queue_time: row.number(columns.queue_time),
        queue_length: row.number(columns.queue_length),
        forecast: forecast(row, columns, &mut run.forecast_classes),
        predicted_cached_tokens: row.number(columns.predicted_cached),
        cached_tokens: row.number(columns.cached),
        prompt_tokens: row.number(columns.prompt_tokens),
        key: request_id::key(row.text(columns.request_id)),
        planned: PlannedLengths {
            prompt: row.count(columns.prompt_bytes),
            output: row.count(columns.max_output),
        },
        lateness: None,
        attempt: row.count(columns.attempt).unwrap_or(0),
        failure,
    }
}

/// The error of an attempt, or its outcome where it has none.
fn failure_kind<'a>(row: &RowView<'a>, columns: &ColumnIndices) -> &'a [u8] {
    let known = [columns.error, columns.outcome].map(|column| row.text(column));
    known.into_iter().find(|text| !text.is_empty()).unwrap_or(b"failed")
}

/// Notes what the shadow policies would have chosen at the decision that is read next: `policy=url`, joined by `;`.
fn note_shadows(row: &RowView<'_>, columns: &ColumnIndices, run: &mut RecordedRun) {
    let known = run.decisions.len();
    let text = row.text(columns.shadow_choices);
    for choice in text.split(|&b| b == b';').filter(|choice| !choice.is_empty()) {
        let Some(at) = choice.iter().position(|&b| b == b'=') else { continue };
        let (policy, worker) = (String::from_utf8_lossy(&choice[..at]), &choice[at + 1..]);
        let worker = run.workers.index(worker);
        let shadow = run.shadow(&policy);
        shadow.choices.resize(known, None);
        shadow.choices.push(Some(worker));
    }
}

fn forecast(
    row: &mut RowView<'_>,
    columns: &ColumnIndices,
    classes: &mut NameTable,
) -> Option<RecordedForecast> {
    let class = row.text(columns.forecast_class);
    let tokens = row.number(columns.forecast_tokens).filter(|_| !class.is_empty())?;
    Some(RecordedForecast { class: classes.index(class), tokens, rank: row.number(columns.forecast_rank) })
}

/// As a float, a Unix time keeps its microseconds, which is enough for a plot.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}
