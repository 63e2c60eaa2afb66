//! The rows of a recording as an audit needs them: small, and with every nanosecond.

use crate::problem::FileProblem;
use crate::read::open_recorder;
use crate::read::recorder::{ColumnIndices, RowKind};
use crate::read::table::RowView;
use crate::run::NameTable;
use std::path::Path;

/// What a decision's row says it was made by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordedClaim {
    /// Whether the reason is `gradient_based`.
    pub(crate) by_gradients: bool,
    pub(crate) throughput_gradient: Option<f64>,
    pub(crate) latency_gradient: Option<f64>,
    pub(crate) score: Option<f64>,
    pub(crate) avg_throughput: Option<f64>,
    pub(crate) avg_latency: Option<f64>,
    pub(crate) window_size: Option<f64>,
}

/// One row. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditRow {
    /// The place of its file.
    pub(crate) file: usize,
    /// Its line there.
    pub(crate) line: u64,
    /// The place of its worker.
    pub(crate) worker: u32,
    /// When a decision was made, or a request ended.
    pub(crate) at: Option<u64>,
    /// How long the worker took.
    pub(crate) latency: Option<u64>,
    /// Generated tokens.
    pub(crate) tokens: Option<u32>,
    /// Whether the request was answered whole.
    pub(crate) ok: bool,
    /// Of a decision.
    pub(crate) claim: Option<RecordedClaim>,
    seq: Option<u64>,
    id: (usize, usize),
}

/// All rows of a recording.
#[derive(Debug, Default)]
pub(crate) struct AuditRows {
    pub(crate) all: Vec<AuditRow>,
    pub(crate) workers: NameTable,
    /// The ids of all requests, one behind the other: a text of its own for each would take more room than the rest.
    ids: String,
    files: usize,
}

impl AuditRows {
    /// Reads one file, and tells what was wrong with it.
    pub(crate) fn read(&mut self, path: &Path) -> Vec<FileProblem> {
        let file = self.files;
        self.files += 1;
        let mut table = match open_recorder(path) {
            Ok(table) => table,
            Err(problem) => return vec![*problem],
        };
        let columns = ColumnIndices::of(&table);
        while let Some(mut row) = table.next() {
            let row = self.row(&mut row, &columns, file);
            self.all.push(row);
        }
        table.problems.into_vec()
    }

    /// Puts the rows into the order in which the policy learned, and tells how many numbers are missing in it.
    pub(crate) fn put_in_order(&mut self) -> u64 {
        if self.all.iter().any(|row| row.seq.is_none()) {
            return 0;
        }
        self.all.sort_by_key(|row| row.seq);
        let pairs = self.all.windows(2).filter_map(|pair| pair[1].seq?.checked_sub(pair[0].seq?));
        pairs.map(|step| step.saturating_sub(1)).sum()
    }

    /// The id of a row's request.
    pub(crate) fn id(&self, row: &AuditRow) -> &str {
        self.ids.get(row.id.0..row.id.1).unwrap_or_default()
    }

    fn row(&mut self, row: &mut RowView<'_>, columns: &ColumnIndices, file: usize) -> AuditRow {
        let start = self.ids.len();
        self.ids.push_str(&String::from_utf8_lossy(row.text(columns.request_id)));
        let decision = columns.fact(row) == RowKind::Decision;
        let at = row.unix_nanos(columns.finish_time).or_else(|| row.unix_nanos(columns.timestamp));
        // The default of a float cast is to saturate, which keeps nonsense harmless.
        let tokens = row.number(columns.tokens).map(|n| n as u32);
        AuditRow {
            file,
            line: row.line(),
            worker: self.workers.place(row.text(columns.worker)),
            at,
            latency: row.number(columns.server_latency).map(|s| (s * 1e9).round() as u64),
            tokens,
            ok: columns.succeeded(row),
            claim: decision.then(|| claim(row, columns)),
            seq: row.number(columns.seq).map(|n| n as u64),
            id: (start, self.ids.len()),
        }
    }
}

fn claim(row: &mut RowView<'_>, columns: &ColumnIndices) -> RecordedClaim {
    RecordedClaim {
        by_gradients: row.text(columns.reason) == b"gradient_based",
        throughput_gradient: row.number(columns.throughput_gradient),
        latency_gradient: row.number(columns.latency_gradient),
        score: row.number(columns.score),
        avg_throughput: row.number(columns.avg_throughput),
        avg_latency: row.number(columns.avg_latency),
        window_size: row.number(columns.window_size),
    }
}
