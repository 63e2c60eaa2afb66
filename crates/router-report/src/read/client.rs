//! The client's file: a row per request.

use super::table::{Column, Row, Table};
use crate::run::{Kind, Names, Request, Run};

struct Columns {
    success: Column,
    host: Column,
    arrival: Column,
    sent: Column,
    finish: Column,
    latency: Column,
    ttft: Column,
    tokens: Column,
    queue: Column,
    queue_start: Column,
    queue_end: Column,
    queue_length: Column,
}

impl Columns {
    fn of(table: &Table) -> Self {
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

/// Reads all rows.
pub(crate) fn read(name: String, table: &mut Table) -> Run {
    let columns = Columns::of(table);
    let policy = table.column("policy");
    let mut run = Run::new(name, Kind::Client);
    while let Some(mut row) = table.next() {
        run.note_policy(row.text(policy));
        run.requests.extend(request(&mut row, &columns, &mut run.workers));
    }
    run
}

fn request(row: &mut Row<'_>, columns: &Columns, workers: &mut Names) -> Option<Request> {
    let Some(ok) = row.flag(columns.success) else {
        row.note(columns.success, "this row does not say whether it succeeded, and is left out");
        return None;
    };
    let host = row.text(columns.host);
    let worker = (!host.is_empty()).then(|| workers.place(host));
    let start = row.number(columns.arrival).or_else(|| row.number(columns.sent));
    let end = row.number(columns.finish);
    let latency = row.number(columns.latency).or_else(|| Some(end? - start?));
    let queue_time = row.number(columns.queue).or_else(|| {
        let (start, end) = (row.number(columns.queue_start)?, row.number(columns.queue_end)?);
        Some(end - start)
    });
    Some(Request {
        worker,
        ok,
        start,
        end,
        latency: latency.filter(|l| *l >= 0.0),
        ttft: row.number(columns.ttft),
        output_tokens: row.number(columns.tokens),
        queue_time: queue_time.filter(|q| *q >= 0.0),
        queue_length: row.number(columns.queue_length),
    })
}
