//! Everything that a viewer is told, at one moment.

use crate::decision::DecisionRow;
use crate::problem::Problem;
use crate::worker::WorkerRow;
use serde::{Deserialize, Serialize};

/// How many decisions a viewer keeps.
pub const DECISIONS_KEPT: usize = 50;

/// Everything that a viewer is told, at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Counts the moments; a delta follows on the one before it.
    pub seq: u64,
    /// The moment.
    pub at: f64,
    /// The router itself.
    pub router: RouterState,
    /// The fleet as a whole.
    pub totals: Totals,
    /// What is wrong, the worst first.
    pub problems: Vec<Problem>,
    /// The workers.
    pub workers: Vec<WorkerRow>,
    /// Requests that wait, and those that were refused.
    pub queue: QueueState,
    /// The figures from which each pool is scaled.
    pub scale: Vec<PoolScale>,
    /// The last decisions, the newest last: a sample where there are more than twenty a second.
    pub decisions: Vec<DecisionRow>,
    /// What the shadow policies would have done.
    pub shadows: Vec<ShadowRow>,
    /// The models.
    pub models: Vec<ModelRow>,
}

/// The router itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RouterState {
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started_at: f64,
    /// Whether requests find a worker.
    pub is_ready: bool,
    /// The live policy.
    pub policy: String,
    /// Viewers of this stream.
    pub viewers: u32,
    /// Over how many seconds rates and quantiles are taken: 60, or as long as somebody has watched.
    pub window_secs: f64,
    /// Whether traces of requests are kept (`--enable-tracking`).
    pub has_traces: bool,
    /// Records per second that were dropped because the recorder fell behind.
    pub records_dropped_per_sec: Option<f64>,
    /// By how many seconds the last look at the fleet came late: the router is short of CPU.
    pub lag_secs: f64,
    /// The discovery of workers; `None` without it.
    pub discovery: Option<DiscoveryState>,
}

/// How well the workers to be discovered are known.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DiscoveryState {
    /// Whether their source is watched now.
    pub is_current: bool,
    /// When the source told something last.
    pub heard_at: Option<f64>,
}

/// The fleet as a whole. Rates are those of the last minute, as those of the workers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Workers, those that drain included.
    pub workers: u32,
    /// Workers that get requests.
    pub healthy: u32,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that got a response since the start.
    pub requests: u64,
    /// Decisions per second.
    pub requests_per_sec: Option<f64>,
    /// Tokens generated per second.
    pub tokens_per_sec: Option<f64>,
    /// Time to the first byte of a stream, median, in seconds.
    pub ttft_p50: Option<f64>,
    /// The 99th percentile of that.
    pub ttft_p99: Option<f64>,
    /// Share of prompt tokens that were in a cache.
    pub cached_share: Option<f64>,
    /// Share of attempts that a worker failed.
    pub failure_share: Option<f64>,
    /// Further attempts per second.
    pub retries_per_sec: Option<f64>,
}

/// Requests that wait, and those that were refused.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueState {
    /// Requests that wait in the router, by what they wait for.
    pub waiting: Vec<WaitingClass>,
    /// Since when the oldest of them waits; `None` when none waits.
    pub oldest_since: Option<f64>,
    /// Requests that the router itself answered with an error, by its code.
    pub refusals: Vec<Refusals>,
}

/// Requests that wait for one thing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct WaitingClass {
    /// What they wait for: `admission`, `worker_capacity` or `worker_in_service`.
    pub class: String,
    /// The model whose workers they wait for; `None` before that is known.
    pub model: Option<String>,
    /// How many wait.
    pub requests: u64,
}

/// Requests that were refused for one reason.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Refusals {
    /// The error code.
    pub reason: String,
    /// How many a second.
    pub per_sec: f64,
    /// How many since somebody began to watch.
    pub count: u64,
}

/// The figures from which one pool is scaled, as `GET /v1/scale` has them.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolScale {
    /// What its workers do: `main`, or `prefill` where that is apart.
    pub pool: String,
    /// The model.
    pub model: Option<String>,
    /// Workers that may be chosen.
    pub workers: u32,
    /// Demand over capacity: 1 is full.
    pub saturation: Figure,
    /// Workers that are needed.
    pub workers_needed: Figure,
    /// Requests per second that one worker can take.
    pub worker_capacity: Figure,
    /// Requests per second that arrive.
    pub arrival_rate: Figure,
    /// What will arrive when a worker that is started now is ready.
    pub arrival_rate_forecast: Figure,
    /// Requests that are not served in time.
    pub backlog: Figure,
    /// Seconds that the oldest request has waited.
    pub queue_age: Figure,
}

/// One figure, with its reason.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Figure {
    /// The value; `None` while it is unknown.
    pub value: Option<f64>,
    /// Its unit.
    pub unit: String,
    /// What it is made of, or why it is unknown.
    pub reason: String,
}

/// What one shadow policy would have done, by the model of the policy that predicts latencies.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShadowRow {
    /// The shadow policy.
    pub policy: String,
    /// The model of the pool.
    pub model: Option<String>,
    /// Decisions that were compared.
    pub decisions: u64,
    /// Share of them in which it would have chosen the same worker.
    pub agreement: Option<f64>,
    /// Decisions with a predicted latency of both choices; without any, the estimates are absent.
    pub predicted: u64,
    /// The mean latency, over that of the live policy, less 1: -0.1 is 10 % less.
    pub mean: Option<Estimate>,
    /// The same of the 99th percentile.
    pub p99: Option<Estimate>,
}

/// An estimate with its uncertainty.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The workers of one model.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ModelRow {
    /// The model; `None` while no worker has told it.
    pub model: Option<String>,
    /// What the workers do: `main`, or `prefill`.
    pub pool: String,
    /// The policy.
    pub policy: String,
    /// Workers.
    pub workers: u32,
    /// Workers that get requests.
    pub healthy: u32,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait in the router for one of them.
    pub waiting: u64,
}
