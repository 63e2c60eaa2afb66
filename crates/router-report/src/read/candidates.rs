//! Reads the recorder's file of candidates: how each shadow policy rated the workers.

use super::rows::{ColumnIndex, RowReader, RowView};
use crate::problem::FileProblem;
use crate::run::ShadowRatings;
use std::collections::BTreeMap;

/// The ratings of one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct CandidateRatings {
    /// The live policy.
    pub(crate) policy: String,
    /// Each shadow policy.
    pub(crate) shadows: BTreeMap<String, ShadowRatings>,
    /// The problems of the file.
    pub(crate) problems: Vec<FileProblem>,
}

struct ColumnIndices {
    seq: ColumnIndex,
    policy: ColumnIndex,
    role: ColumnIndex,
    worker: ColumnIndex,
    chosen: ColumnIndex,
    cost: ColumnIndex,
    terms: ColumnIndex,
}

/// What a policy said of one worker.
#[derive(Clone, Copy, Debug)]
struct Rating {
    cost: f64,
    latency: Option<f64>,
}

/// One decision: the rows of its candidates follow each other, those of the live policy first.
#[derive(Debug, Default)]
struct OpenDecision {
    seq: Option<u64>,
    live_worker: Vec<u8>,
    /// By shadow policy: its rating of its own choice and of the live choice, and whether the two differ.
    shadows: BTreeMap<String, (Option<Rating>, Option<Rating>, u64)>,
}

/// Reads all rows.
pub(super) fn read(table: &mut RowReader) -> CandidateRatings {
    let column = |name| table.column(name);
    let columns = ColumnIndices {
        seq: column("seq"),
        policy: column("policy"),
        role: column("role"),
        worker: column("worker_url"),
        chosen: column("chosen"),
        cost: column("cost"),
        terms: column("terms"),
    };
    let mut found = CandidateRatings::default();
    let mut open = OpenDecision::default();
    while let Some(mut row) = table.next() {
        let seq = row.number(columns.seq).map(|n| n as u64);
        if seq != open.seq {
            found.end(std::mem::take(&mut open));
            open.seq = seq;
        }
        found.note(&mut row, &columns, &mut open);
    }
    found.end(open);
    found
}

impl CandidateRatings {
    fn note(&mut self, row: &mut RowView<'_>, columns: &ColumnIndices, open: &mut OpenDecision) {
        let chosen = row.flag(columns.chosen) == Some(true);
        let worker = row.text(columns.worker);
        if row.text(columns.role) == b"live" {
            if self.policy.is_empty() {
                self.policy = String::from_utf8_lossy(row.text(columns.policy)).into_owned();
            }
            if chosen {
                open.live_worker = worker.to_vec();
            }
            return;
        }
        let is_live = worker == open.live_worker;
        let Some(cost) = row.number(columns.cost).filter(|_| chosen || is_live) else { return };
        let terms: Option<serde_json::Value> = serde_json::from_slice(row.text(columns.terms)).ok();
        let latency = terms.and_then(|terms| terms.get("own_latency")?.as_f64());
        let policy = String::from_utf8_lossy(row.text(columns.policy)).into_owned();
        let (own, live, differs) = open.shadows.entry(policy).or_default();
        let rating = Some(Rating { cost, latency });
        if chosen {
            (*own, *differs) = (rating, u64::from(!is_live));
        }
        if is_live {
            *live = rating;
        }
    }

    fn end(&mut self, open: OpenDecision) {
        for (policy, (own, live, differs)) in open.shadows {
            let Some((own, live)) = own.zip(live) else { continue };
            let sums = self.shadows.entry(policy).or_default();
            sums.decisions += 1;
            sums.differing += differs;
            sums.own_cost += own.cost;
            sums.live_cost += live.cost;
            if let Some((own, live)) = own.latency.zip(live.latency) {
                sums.predicted += 1;
                sums.own_latency += own;
                sums.live_latency += live;
            }
        }
    }
}
