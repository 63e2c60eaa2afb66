//! Reads a recorder's file: a row per decision and a row per completion.

use super::rows::{ColumnIndex, RowReader, RowView};
use crate::run::{FileKind, NameTable, RecordedDecision, RecordedForecast, RecordedRequest, RecordedRun};

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
        match columns.row_kind(&row) {
            RowKind::Decision => {
                run.decisions.push(decision(&mut row, &columns, &mut run.workers, &mut run.reasons))
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
    }
}

fn request(row: &mut RowView<'_>, columns: &ColumnIndices, run: &mut RecordedRun) -> RecordedRequest {
    let end = row.unix_nanos(columns.timestamp).map(seconds);
    let latency = row.number(columns.server_latency);
    RecordedRequest {
        worker: Some(run.workers.index(row.text(columns.worker))),
        ok: columns.succeeded(row),
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
fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}
