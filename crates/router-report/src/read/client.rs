//! Reads a client's file: a row per request.

use super::request_id;
use super::rows::{ColumnIndex, RowReader, RowView};
use crate::run::{FileKind, PlannedLengths, RecordedRequest, RecordedRun};

struct ColumnIndices {
    success: ColumnIndex,
    host: ColumnIndex,
    arrival: ColumnIndex,
    sent: ColumnIndex,
    finish: ColumnIndex,
    latency: ColumnIndex,
    ttft: ColumnIndex,
    tokens: ColumnIndex,
    queue: ColumnIndex,
    queue_start: ColumnIndex,
    queue_end: ColumnIndex,
    queue_length: ColumnIndex,
    id: ColumnIndex,
    error: ColumnIndex,
    lateness: ColumnIndex,
    waited: ColumnIndex,
    planned_prompt: ColumnIndex,
    planned_output: ColumnIndex,
    prompt_tokens: ColumnIndex,
    cached: ColumnIndex,
}

impl ColumnIndices {
    fn of(table: &RowReader) -> Self {
        let column = |name| table.column(name);
        Self {
            success: column("success"),
            host: column("host"),
            arrival: column("arrival_time"),
            sent: column("router_send_time"),
            finish: column("finish_time"),
            latency: column("total_latency"),
            ttft: column("ttft"),
            tokens: column("actual_output_tokens"),
            queue: column("pure_queue_time"),
            queue_start: column("queue_time_start"),
            queue_end: column("queue_time_end"),
            queue_length: column("queue_length"),
            id: column("req_id"),
            error: column("error"),
            lateness: column("lateness"),
            waited: column("queue_time_in_router"),
            planned_prompt: column("input_length"),
            planned_output: column("expected_output_length"),
            prompt_tokens: column("actual_prompt_tokens"),
            cached: column("cached_tokens"),
        }
    }
}

/// Reads all rows into a run.
pub(crate) fn read(name: String, table: &mut RowReader) -> RecordedRun {
    let columns = ColumnIndices::of(table);
    let policy = table.column("policy");
    let mut run = RecordedRun::new(name, FileKind::Client);
    while let Some(mut row) = table.next() {
        run.set_policy(row.text(policy));
        if run.began.is_none() {
            let sent = request_id::sent_at(row.text(columns.id));
            run.began = sent.zip(row.number(columns.sent)).map(|(at, sent)| at - sent);
        }
        let request = request(&mut row, &columns, &mut run);
        run.requests.extend(request);
    }
    run
}

fn request(row: &mut RowView<'_>, columns: &ColumnIndices, run: &mut RecordedRun) -> Option<RecordedRequest> {
    let Some(ok) = row.flag(columns.success) else {
        row.add_problem(columns.success, "this row does not say whether it succeeded, and is left out");
        return None;
    };
    let host = row.text(columns.host);
    let worker = (!host.is_empty()).then(|| run.workers.index(host));
    let failure = (!ok).then(|| run.failure_kinds.index(&failure_kind(row.text(columns.error))));
    let start = row.number(columns.arrival).or_else(|| row.number(columns.sent));
    let end = row.number(columns.finish);
    let latency = row.number(columns.latency).or_else(|| Some(end? - start?));
    let queue_time = row.number(columns.queue).or_else(|| {
        let (start, end) = (row.number(columns.queue_start)?, row.number(columns.queue_end)?);
        Some(end - start)
    });
    Some(RecordedRequest {
        worker,
        ok,
        start,
        end,
        latency: latency.filter(|l| *l >= 0.0),
        ttft: row.number(columns.ttft),
        output_tokens: row.number(columns.tokens),
        queue_time: queue_time.filter(|q| *q >= 0.0),
        queue_length: row.number(columns.queue_length),
        key: request_id::key(row.text(columns.id)),
        planned: PlannedLengths {
            prompt: row.count(columns.planned_prompt),
            output: row.count(columns.planned_output),
        },
        // Without a cap on the requests in flight, the wait of the sender is its lateness.
        lateness: row.number(columns.lateness).or_else(|| row.number(columns.waited)),
        prompt_tokens: row.number(columns.prompt_tokens),
        cached_tokens: row.number(columns.cached),
        failure,
        ..RecordedRequest::default()
    })
}

/// The longest kind of failure, in bytes; longer messages are cut.
const MAX_KIND: usize = 40;

/// What an error message says before its details: `HTTP 503` of `HTTP 503: no worker`.
fn failure_kind(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(message);
    let text = text.split(':').next().unwrap_or_default().trim();
    // A host differs from one message to the next.
    let text = if text.starts_with("cannot connect") { "cannot connect" } else { text };
    let kind: String = text.chars().take(MAX_KIND).collect();
    if kind.is_empty() { b"failed".to_vec() } else { kind.into_bytes() }
}
