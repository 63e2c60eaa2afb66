//! What is known about a worker apart from its load.

use std::sync::Arc;

/// What is known about a worker.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerInfo {
    /// The worker's base URL, which is also its name in metrics and records.
    pub url: Arc<str>,
    /// Relative capacity for policies that weigh; 1 unless configured. A worker of weight 0
    /// is used only when there is no other.
    pub weight: f64,
    /// Of workers at equal cost the one with the higher priority is taken; 50 unless configured.
    pub priority: u32,
    /// How many requests the worker runs at once, when known.
    pub max_running_requests: Option<u32>,
    /// How many tokens fit into the worker's KV cache, when known.
    pub max_total_tokens: Option<u64>,
}

impl WorkerInfo {
    /// A worker about which only the URL is known.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.into(),
            weight: 1.0,
            priority: 50,
            max_running_requests: None,
            max_total_tokens: None,
        }
    }

    /// The [`weight`](Self::weight) as it counts: from 0 to 10^12 whatever was configured, so that sums are finite.
    pub(crate) fn share(&self) -> f64 {
        if self.weight.is_finite() { self.weight.clamp(0.0, 1e12) } else { 0.0 }
    }
}

/// What a worker can take and how much it should get: the part of [`WorkerInfo`] that may change while it serves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkerCapacity {
    /// See [`WorkerInfo::weight`].
    pub weight: f64,
    /// See [`WorkerInfo::priority`].
    pub priority: u32,
    /// See [`WorkerInfo::max_running_requests`].
    pub max_running_requests: Option<u32>,
    /// See [`WorkerInfo::max_total_tokens`].
    pub max_total_tokens: Option<u64>,
}
