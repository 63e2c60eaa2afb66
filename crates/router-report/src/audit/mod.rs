//! The audit of a recording: every decision by gradients is recomputed from the completions in the same files.
//!
//! The formulas are not repeated here. The policy itself gets the completions, as a shadow policy of a balancer that
//! sends every request to the recorded worker.

mod fault;
mod replay;
mod rows;

pub use fault::{AuditFault, AuditFinding};

use crate::problem::FileProblem;
use fault::{check_decision, check_id};
use replay::RecordingReplay;
use router_core::policy::{InvalidOption, MarginalUtilityConfig};
use rows::{AuditRow, AuditRows};
use serde::Serialize;
use std::path::Path;

/// How many findings are listed.
const MAX_FINDINGS: usize = 1000;

/// The result of an audit.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Audit {
    /// The files, in the given order.
    pub files: Vec<String>,
    /// Rows that are decisions.
    pub decisions: u64,
    /// Decisions whose reason is `gradient_based`.
    pub by_gradients: u64,
    /// Decisions by gradients that match the recomputation.
    pub matching: u64,
    /// Decisions by gradients that depend on completions before the first file, so they cannot be checked.
    pub unknown: u64,
    /// Rows with faults.
    pub wrong: u64,
    /// How many rows have each fault, by its name, in the order of [`AuditFault`].
    pub counts: Vec<(&'static str, u64)>,
    /// The first thousand rows with faults.
    pub findings: Vec<AuditFinding>,
    /// Missing sequence numbers: rows that the recorder dropped. Later rows need not match.
    pub lost: u64,
    /// The problems of the files.
    pub problems: Vec<FileProblem>,
}

/// Recomputes every decision by gradients in these files. Several files are the parts of one recording, the oldest
/// first. `config` must be the policy's configuration of that run.
///
/// # Errors
/// An invalid value in `config`.
pub fn audit<P: AsRef<Path>>(files: &[P], config: MarginalUtilityConfig) -> Result<Audit, InvalidOption> {
    let mut replay = RecordingReplay::new(config)?;
    let mut rows = AuditRows::default();
    let mut audit = Audit::default();
    for file in files {
        audit.files.push(file.as_ref().display().to_string());
        audit.problems.extend(rows.read(file.as_ref()));
    }
    audit.lost = rows.sort_by_seq();
    audit.counts = AuditFault::NAMES.iter().map(|&name| (name, 0)).collect();
    for row in &rows.all {
        let faults = audit.check_row(row, &rows, &mut replay);
        if !faults.is_empty() {
            audit.add_finding(row, &rows, faults);
        }
    }
    Ok(audit)
}

impl Audit {
    /// Replays one row and returns its faults.
    fn check_row(
        &mut self,
        row: &AuditRow,
        rows: &AuditRows,
        replay: &mut RecordingReplay,
    ) -> Vec<AuditFault> {
        let mut faults: Vec<AuditFault> = check_id(rows.id(row)).into_iter().collect();
        let Some(claim) = &row.claim else {
            replay.replay_completion(row, &rows.workers);
            return faults;
        };
        self.decisions += 1;
        let terms = replay.replay_decision(row, claim, &rows.workers);
        if claim.by_gradients {
            self.by_gradients += 1;
            match check_decision(claim, &terms) {
                None => self.unknown += 1,
                Some(found) => {
                    faults.extend(found);
                    // A row without a usable id does not match, even if its numbers are right.
                    self.matching += u64::from(faults.is_empty());
                }
            }
        }
        faults
    }

    fn add_finding(&mut self, row: &AuditRow, rows: &AuditRows, faults: Vec<AuditFault>) {
        self.wrong += 1;
        for fault in &faults {
            self.counts[fault.index()].1 += 1;
        }
        if self.findings.len() < MAX_FINDINGS {
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
