//! Whether a recording is true: every decision by gradients, recomputed from the completions in the same file.
//!
//! The formulas are not written again here: the completions are told to the policy itself, as a shadow of a balancer
//! that sends every request where the recording says it went.

mod fault;
mod replay;
mod rows;

pub use fault::{AuditFault, AuditFinding};

use crate::problem::FileProblem;
use fault::{judge, judge_id};
use replay::RecordingReplay;
use router_core::policy::{InvalidOption, MarginalUtilityConfig};
use rows::{AuditRow, AuditRows};
use serde::Serialize;
use std::path::Path;

/// How many findings are listed one by one.
const LISTED: usize = 1000;

/// What an audit found.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Audit {
    /// The files that were read, in the order in which they were given.
    pub files: Vec<String>,
    /// Rows that are decisions.
    pub decisions: u64,
    /// Decisions whose reason is `gradient_based`.
    pub by_gradients: u64,
    /// Those of them that say what the recomputation says.
    pub matching: u64,
    /// Those of them that look at completions from before the first file, so that nothing can be said.
    pub unknown: u64,
    /// Rows with anything wrong.
    pub wrong: u64,
    /// How many rows have each fault, by its name, in the order of [`AuditFault`].
    pub counts: Vec<(&'static str, u64)>,
    /// The first thousand of the wrong rows.
    pub findings: Vec<AuditFinding>,
    /// Numbers missing in the order of events: rows that the recorder dropped. What comes after need not match.
    pub lost: u64,
    /// What was wrong with the files.
    pub problems: Vec<FileProblem>,
}

/// Recomputes every decision by gradients that these files record. Several files are the parts of one recording, the
/// oldest first; `knobs` must be those that the router ran with.
///
/// # Errors
/// A knob whose value makes no sense.
pub fn audit<P: AsRef<Path>>(files: &[P], knobs: MarginalUtilityConfig) -> Result<Audit, InvalidOption> {
    let mut replay = RecordingReplay::new(knobs)?;
    let mut rows = AuditRows::default();
    let mut audit = Audit::default();
    for file in files {
        audit.files.push(file.as_ref().display().to_string());
        audit.problems.extend(rows.read(file.as_ref()));
    }
    audit.lost = rows.put_in_order();
    audit.counts = AuditFault::NAMES.iter().map(|&name| (name, 0)).collect();
    for row in &rows.all {
        let faults = audit.visit(row, &rows, &mut replay);
        if !faults.is_empty() {
            audit.note(row, &rows, faults);
        }
    }
    Ok(audit)
}

impl Audit {
    /// Steps over one row and tells what is wrong with it.
    fn visit(&mut self, row: &AuditRow, rows: &AuditRows, replay: &mut RecordingReplay) -> Vec<AuditFault> {
        let mut faults: Vec<AuditFault> = judge_id(rows.id(row)).into_iter().collect();
        let Some(claim) = &row.claim else {
            replay.completed(row, &rows.workers);
            return faults;
        };
        self.decisions += 1;
        let terms = replay.decided(row, claim, &rows.workers);
        if claim.by_gradients {
            self.by_gradients += 1;
            match judge(claim, &terms) {
                None => self.unknown += 1,
                Some(found) => faults.extend(found),
            }
            // What an id says has no bearing on the gradients, but a row that joins nothing matches nothing.
            self.matching += u64::from(faults.is_empty() && judge(claim, &terms).is_some());
        }
        faults
    }

    fn note(&mut self, row: &AuditRow, rows: &AuditRows, faults: Vec<AuditFault>) {
        self.wrong += 1;
        for fault in &faults {
            self.counts[fault.place()].1 += 1;
        }
        if self.findings.len() < LISTED {
            self.findings.push(AuditFinding {
                file: self.files[row.file].clone(),
                line: row.line,
                request_id: rows.id(row).to_owned(),
                worker: rows.workers.as_slice()[row.worker as usize].clone(),
                faults,
            });
        }
    }
}
