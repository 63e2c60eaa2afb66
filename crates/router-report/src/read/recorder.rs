//! The recorder's file: a row per decision and a row per completion.

use super::table::{Column, Row, Table};
use crate::run::{Choice, Kind, Names, Request, Run};

/// The reason that marks a completion's row.
pub(crate) const COMPLETION: &[u8] = b"completion_record";

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fact {
    /// A worker was chosen.
    Decision,
    /// A request ended.
    Completion,
}

/// The columns that are read, where the file has them.
pub(crate) struct Columns {
    pub(crate) timestamp: Column,
    pub(crate) worker: Column,
    pub(crate) request_id: Column,
    pub(crate) throughput_gradient: Column,
    pub(crate) latency_gradient: Column,
    pub(crate) score: Column,
    pub(crate) window_size: Column,
    pub(crate) avg_throughput: Column,
    pub(crate) avg_latency: Column,
    pub(crate) reason: Column,
    pub(crate) tokens: Column,
    pub(crate) server_latency: Column,
    pub(crate) finish_time: Column,
    pub(crate) seq: Column,
    pub(crate) outcome: Column,
    queue_time: Column,
    queue_length: Column,
    ttft: Column,
    decision_time: Column,
    kind: Column,
    policy: Column,
    status: Column,
}

impl Columns {
    pub(crate) fn of(table: &Table) -> Self {
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
        }
    }

    /// What the row is about. Files of before there was a column for it say so in the reason.
    pub(crate) fn fact(&self, row: &Row<'_>) -> Fact {
        let completion = row.text(self.kind) == b"completion" || row.text(self.reason) == COMPLETION;
        if completion { Fact::Completion } else { Fact::Decision }
    }

    /// Whether the request of a completion's row was answered whole.
    pub(crate) fn succeeded(&self, row: &mut Row<'_>) -> bool {
        match row.text(self.outcome) {
            // Files of before there was an outcome hold what came back with a good status, or no status at all.
            b"" => row.number(self.status).is_none_or(|status| (200.0..300.0).contains(&status)),
            outcome => outcome == b"success",
        }
    }
}

/// Reads all rows.
pub(crate) fn read(name: String, table: &mut Table) -> Run {
    let columns = Columns::of(table);
    let mut run = Run::new(name, Kind::Recorder);
    while let Some(mut row) = table.next() {
        run.note_policy(row.text(columns.policy));
        match columns.fact(&row) {
            Fact::Decision => {
                run.choices.push(choice(&mut row, &columns, &mut run.workers, &mut run.reasons))
            }
            Fact::Completion => run.requests.push(request(&mut row, &columns, &mut run.workers)),
        }
    }
    run
}

fn choice(row: &mut Row<'_>, columns: &Columns, workers: &mut Names, reasons: &mut Names) -> Choice {
    Choice {
        at: row.unix_nanos(columns.timestamp).map(seconds),
        worker: workers.place(row.text(columns.worker)),
        reason: reasons.place(row.text(columns.reason)),
        throughput_gradient: row.number(columns.throughput_gradient),
        latency_gradient: row.number(columns.latency_gradient),
        score: row.number(columns.score),
        took_ms: row.number(columns.decision_time),
    }
}

fn request(row: &mut Row<'_>, columns: &Columns, workers: &mut Names) -> Request {
    let end = row.unix_nanos(columns.timestamp).map(seconds);
    let latency = row.number(columns.server_latency);
    Request {
        worker: Some(workers.place(row.text(columns.worker))),
        ok: columns.succeeded(row),
        start: end.zip(latency).map(|(end, latency)| end - latency),
        end,
        latency,
        ttft: row.number(columns.ttft),
        output_tokens: row.number(columns.tokens),
        queue_time: row.number(columns.queue_time),
        queue_length: row.number(columns.queue_length),
    }
}

/// Microseconds of a Unix time survive in a float, which is enough for a plot.
fn seconds(nanos: u64) -> f64 {
    nanos as f64 * 1e-9
}
