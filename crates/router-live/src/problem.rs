//! Something that is wrong, in words.

use serde::{Deserialize, Serialize};

/// How bad a problem is. The worst comes first in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Requests fail or wait.
    Critical,
    /// Something is worse than it should be.
    #[default]
    Warning,
    /// Somebody may want to know.
    Info,
}

/// What is wrong. New kinds may come; a viewer that does not know one shows its words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// No worker is in the fleet.
    NoWorker,
    /// No worker of the fleet, or of one model, gets requests.
    NoneInService,
    /// Requests are refused.
    Refusing,
    /// Requests wait in the router.
    Waiting,
    /// Workers are unhealthy.
    WorkerDown,
    /// Circuit breakers are open.
    BreakerOpen,
    /// The demand is above the capacity.
    Saturated,
    /// Workers fail many of their attempts.
    WorkerFailing,
    /// Workers are much slower than the others.
    WorkerSlow,
    /// The queue of workers grows.
    WorkerQueueGrowing,
    /// Workers missed a weight update.
    WeightsMissed,
    /// Workers are not ready, by the word of whoever runs them.
    WorkerNotReady,
    /// Workers have not passed a health check yet.
    WorkerPending,
    /// Many requests take further attempts.
    Retrying,
    /// Workers report more load than is allowed.
    WorkerOverloaded,
    /// The source of workers cannot be reached.
    DiscoveryStale,
    /// Records are dropped.
    RecordsDropped,
    /// The router is short of CPU time.
    RouterLate,
    /// Workers drain.
    WorkerDraining,
    /// A kind that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What.
    pub code: ProblemCode,
    /// How bad it is.
    pub severity: Severity,
    /// The workers that have it, by name, at most [`NAMED_WORKERS`](crate::NAMED_WORKERS) of them.
    pub workers: Vec<String>,
    /// How many have it; 0 where it is no worker's.
    pub count: u64,
    /// The model that it is about; `None` where it is about all or one.
    pub model: Option<String>,
    /// The reason behind it: an error code, or why a check failed.
    pub reason: Option<String>,
    /// A figure: how many wait, the saturation, a factor.
    pub value: Option<f64>,
    /// Since when, of the first.
    pub since: Option<f64>,
    /// A sentence in English.
    pub en: String,
    /// The same in Chinese.
    pub zh: String,
}
