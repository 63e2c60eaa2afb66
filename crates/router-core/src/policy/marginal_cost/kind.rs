//! Which workers are taken to be alike.

use crate::WorkerInfo;

/// What tells workers of one kind from others, as far as they say it: workers with the same limits are taken to have the same
/// model and the same hardware until they show how fast they are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WorkerKind {
    max_running_requests: Option<u32>,
    max_total_tokens: Option<u64>,
}

impl WorkerKind {
    pub(super) const fn of(info: &WorkerInfo) -> Self {
        Self { max_running_requests: info.max_running_requests, max_total_tokens: info.max_total_tokens }
    }
}
