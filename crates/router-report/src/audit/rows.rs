//! The rows of a recording as the audit needs them: compact, with times in nanoseconds.

use crate::problem::FileProblem;
use crate::read::open_recorder;
use crate::read::recorder::{ColumnIndices, RowKind};
use crate::read::rows::RowView;
use crate::run::NameTable;
use std::path::Path;

/// What the row of a decision claims about how it was made.
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
    /// The index of its file.
    pub(crate) file: usize,
    /// Its line in the file, from 1.
    pub(crate) line: u64,
    /// The index of its worker.
    pub(crate) worker: u32,
    /// When a decision was made, or a request ended.
    pub(crate) at: Option<u64>,
    /// The worker's latency in nanoseconds.
    pub(crate) latency: Option<u64>,
    /// Generated tokens.
    pub(crate) tokens: Option<u32>,
    /// Whether the response was complete.
    pub(crate) ok: bool,
    /// Present if the row is a decision.
    pub(crate) claim: Option<RecordedClaim>,
    seq: Option<u64>,
    /// The range of the request's id in [`AuditRows::ids`].
    id: (usize, usize),
}

/// All rows of a recording.
#[derive(Debug, Default)]
pub(crate) struct AuditRows {
    pub(crate) all: Vec<AuditRow>,
    pub(crate) workers: NameTable,
    /// The ids of all requests, concatenated: a `String` for each would take more memory than the rest of the row.
    ids: String,
    files: usize,
}

impl AuditRows {
    /// Reads one file and returns its problems.
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

    /// Sorts the rows by sequence number, the order in which the policy saw them, and returns how many numbers are missing.
    pub(crate) fn sort_by_seq(&mut self) -> u64 {
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
        let decision = columns.row_kind(row) == RowKind::Decision;
        let at = row.unix_nanos(columns.finish_time).or_else(|| row.unix_nanos(columns.timestamp));
        // A float cast saturates, so an absurd number is harmless.
        let tokens = row.number(columns.tokens).map(|n| n as u32);
        AuditRow {
            file,
            line: row.line(),
            worker: self.workers.index(row.text(columns.worker)),
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
