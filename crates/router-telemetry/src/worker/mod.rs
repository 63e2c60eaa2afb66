//! A worker as records and metrics refer to it.

mod list;
mod metrics;
mod names;
mod totals;

pub(crate) use list::{WorkerList, WorkerSums};
pub(crate) use metrics::{OUTCOMES, TimeBuckets};
pub use metrics::{WorkerCounts, WorkerMetrics};
pub(crate) use names::WorkerNames;
pub(crate) use totals::{TimeTotals, WorkerTotals};

use router_core::WorkerId;
use std::sync::Arc;

/// A worker's id, names and metrics.
#[derive(Debug)]
pub struct WorkerTelemetry {
    /// The balancer's id.
    pub id: WorkerId,
    /// The base URL.
    pub url: Arc<str>,
    /// The name in records and labels: the URL, or `URL@RANK` for one data-parallel rank.
    pub name: Arc<str>,
    /// What is counted of it.
    pub metrics: Arc<WorkerMetrics>,
}
