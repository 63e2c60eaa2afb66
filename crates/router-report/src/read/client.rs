//! Reads a client's file: a row per request.

use super::rows::{ColumnIndex, RowReader, RowView};
use crate::run::{FileKind, NameTable, RecordedRequest, RecordedRun};

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
        run.requests.extend(request(&mut row, &columns, &mut run.workers));
    }
    run
}

fn request(
    row: &mut RowView<'_>,
    columns: &ColumnIndices,
    workers: &mut NameTable,
) -> Option<RecordedRequest> {
    let Some(ok) = row.flag(columns.success) else {
        row.add_problem(columns.success, "this row does not say whether it succeeded, and is left out");
        return None;
    };
    let host = row.text(columns.host);
    let worker = (!host.is_empty()).then(|| workers.index(host));
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
        ..RecordedRequest::default()
    })
}
