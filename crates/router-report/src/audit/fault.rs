//! The faults of a recorded decision.

use super::rows::RecordedClaim;
use router_core::ScoreTerms;
use serde::{Serialize, Serializer};
use std::fmt;

/// The largest relative error. The recorder writes all digits and the window is kept in whole nanoseconds, so a number
/// can differ only by the rounding of its last digit.
const TOLERANCE: f64 = 1e-9;

/// A fault of a row.
#[derive(Clone, PartialEq, Debug)]
pub enum AuditFault {
    /// The request has no id, so the row cannot be joined with others.
    NoId(String),
    /// The reason is `gradient_based`, but the gradients or the score are empty.
    NoGradients,
    /// The reason is `gradient_based`, but the worker had too few completions to compute gradients.
    NoTrend {
        /// How many completions the worker had.
        completions: u64,
    },
    /// A number differs from the one recomputed from the completions.
    Differs {
        /// The column.
        column: &'static str,
        /// The number in the file; absent if the cell is empty.
        recorded: Option<f64>,
        /// The number recomputed from the completions.
        recomputed: f64,
    },
}

impl AuditFault {
    /// The names of the faults, by [`index`](Self::index).
    pub(crate) const NAMES: [&'static str; 4] = ["no_request_id", "no_gradients", "no_trend", "differs"];

    /// The index of this kind of fault in [`NAMES`](Self::NAMES).
    pub(crate) const fn index(&self) -> usize {
        match self {
            Self::NoId(_) => 0,
            Self::NoGradients => 1,
            Self::NoTrend { .. } => 2,
            Self::Differs { .. } => 3,
        }
    }
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoId(id) => write!(f, "request_id is '{id}'"),
            Self::NoGradients => f.write_str("gradient_based without gradients and score"),
            Self::NoTrend { completions } => {
                write!(f, "gradient_based after {completions} completions, too few for gradients")
            }
            Self::Differs { column, recorded: Some(recorded), recomputed } => {
                write!(f, "{column} is {recorded}, recomputed {recomputed}")
            }
            Self::Differs { column, recorded: None, recomputed } => {
                write!(f, "{column} is empty, recomputed {recomputed}")
            }
        }
    }
}

impl Serialize for AuditFault {
    /// Serializes the text: the page shows it, and nothing reads it back.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A row with faults.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct AuditFinding {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The request's id, as recorded.
    pub request_id: String,
    /// The worker.
    pub worker: String,
    /// Its faults.
    pub faults: Vec<AuditFault>,
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}, {}", self.file, self.line, self.worker)?;
        self.faults.iter().enumerate().try_for_each(|(i, fault)| {
            let before = if i == 0 { ": " } else { "; " };
            write!(f, "{before}{fault}")
        })
    }
}

/// The fault of a request id that cannot join rows. Old recorders wrote `pending` or `unknown` for a missing id.
pub(crate) fn check_id(id: &str) -> Option<AuditFault> {
    matches!(id, "" | "pending" | "unknown").then(|| AuditFault::NoId(id.to_owned()))
}

/// The faults of a decision by gradients; absent if some of its completions are not in the files.
pub(crate) fn check_decision(claim: &RecordedClaim, terms: &ScoreTerms) -> Option<Vec<AuditFault>> {
    let known = terms.get("window_size").unwrap_or(0.0);
    let complete =
        claim.throughput_gradient.is_some() && claim.latency_gradient.is_some() && claim.score.is_some();
    let has_trend = terms.get("throughput_gradient").is_some();
    let mut faults = Vec::new();
    if complete && claim.window_size.is_some_and(|size| size > known) {
        return None;
    }
    if !complete {
        faults.push(AuditFault::NoGradients);
    }
    if !has_trend {
        faults.push(AuditFault::NoTrend { completions: known as u64 });
    }
    if complete && has_trend {
        let columns = [
            ("throughput_gradient", claim.throughput_gradient),
            ("latency_gradient", claim.latency_gradient),
            ("score", claim.score),
            ("avg_throughput", claim.avg_throughput),
            ("avg_latency", claim.avg_latency),
            ("window_size", claim.window_size),
        ];
        faults.extend(columns.into_iter().filter_map(|(column, recorded)| {
            let recomputed = terms.get(column)?;
            let off = recorded.is_none_or(|recorded| !near(recorded, recomputed));
            off.then_some(AuditFault::Differs { column, recorded, recomputed })
        }));
    }
    Some(faults)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1e-3)
}
