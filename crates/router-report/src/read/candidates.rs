//! Reads the recorder's file of candidates: how each shadow policy rated the workers.

use super::recorder::seconds;
use super::rows::{ColumnIndex, RowReader, RowView};
use crate::run::{RecordedRun, ShadowRatings};
use std::collections::{BTreeMap, HashMap};

struct ColumnIndices {
    timestamp: ColumnIndex,
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

/// One decision, whose rows follow each other. By shadow policy: its rating of its own choice and of the live choice, and
/// whether the two differ.
type OpenDecision = BTreeMap<String, (Option<Rating>, Option<Rating>, u64)>;

/// The workers that the live policy chose, by the sequence number of the decision.
struct LiveChoices<'a> {
    workers: &'a [String],
    chosen: HashMap<u64, u32>,
}

impl<'a> LiveChoices<'a> {
    fn of(run: &'a RecordedRun) -> Self {
        let known = run.decisions.iter().filter_map(|decision| Some((decision.seq?, decision.worker)));
        Self { workers: run.workers.as_slice(), chosen: known.collect() }
    }

    fn at(&self, seq: u64) -> Option<&'a str> {
        self.chosen.get(&seq).map(|&worker| self.workers[worker as usize].as_str())
    }
}

/// Adds what the shadow policies said to the first of `runs` that has these decisions.
pub(super) fn rate(runs: &mut [&mut RecordedRun], table: &mut RowReader) {
    let column = |name| table.column(name);
    let columns = ColumnIndices {
        timestamp: column("timestamp"),
        seq: column("seq"),
        policy: column("policy"),
        role: column("role"),
        worker: column("worker_url"),
        chosen: column("chosen"),
        cost: column("cost"),
        terms: column("terms"),
    };
    let mut sums: BTreeMap<String, ShadowRatings> = BTreeMap::new();
    let mut run = None;
    let mut live: Option<LiveChoices<'_>> = None;
    let mut open = (None, OpenDecision::new());
    while let Some(mut row) = table.next() {
        let Some(seq) = row.number(columns.seq).map(|n| n as u64) else { continue };
        let live = match &live {
            Some(live) => live,
            None => {
                let at = row.unix_nanos(columns.timestamp).map(seconds);
                let same = |run: &&mut RecordedRun| {
                    run.decisions.iter().any(|decision| decision.seq == Some(seq) && decision.at == at)
                };
                run = runs.iter().position(same);
                let Some(run) = run else { break };
                live.insert(LiveChoices::of(&*runs[run]))
            }
        };
        if open.0 != Some(seq) {
            add(&mut sums, std::mem::take(&mut open.1));
            open.0 = Some(seq);
        }
        if let Some(live) = live.at(seq) {
            note(&mut row, &columns, live, &mut open.1);
        }
    }
    add(&mut sums, open.1);
    let Some(run) = run else {
        table.problems.add(None, None, || {
            "the decisions of these candidates are in none of the files before; name the recording first"
                .to_owned()
        });
        return;
    };
    for (policy, sums) in &sums {
        runs[run].shadow(policy).ratings.get_or_insert_default().add(sums);
    }
}

/// Notes one row: what a shadow policy says of its own choice, or of the live one.
fn note(row: &mut RowView<'_>, columns: &ColumnIndices, live_worker: &str, open: &mut OpenDecision) {
    if row.text(columns.role) == b"live" {
        return;
    }
    let chosen = row.flag(columns.chosen) == Some(true);
    let is_live = row.text(columns.worker) == live_worker.as_bytes();
    let Some(cost) = row.number(columns.cost).filter(|_| chosen || is_live) else { return };
    let terms: Option<serde_json::Value> = serde_json::from_slice(row.text(columns.terms)).ok();
    let latency = terms.and_then(|terms| terms.get("own_latency")?.as_f64());
    let policy = String::from_utf8_lossy(row.text(columns.policy)).into_owned();
    let (own, live, differs) = open.entry(policy).or_default();
    let rating = Some(Rating { cost, latency });
    if chosen {
        (*own, *differs) = (rating, u64::from(!is_live));
    }
    if is_live {
        *live = rating;
    }
}

/// Adds a decision to the sums.
fn add(sums: &mut BTreeMap<String, ShadowRatings>, decision: OpenDecision) {
    for (policy, (own, live, differs)) in decision {
        let Some((own, live)) = own.zip(live) else { continue };
        let sums = sums.entry(policy).or_default();
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
