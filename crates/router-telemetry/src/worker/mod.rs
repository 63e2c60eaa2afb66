//! A worker as records and metrics refer to it.

mod metrics;

pub(crate) use metrics::WorkerFamilies;
pub use metrics::WorkerMetrics;

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
    /// The handles of its metrics.
    pub metrics: WorkerMetrics,
}

/// All workers of one balancer at one moment, by slot.
pub type WorkerDirectory = Arc<Vec<Option<Arc<WorkerTelemetry>>>>;
