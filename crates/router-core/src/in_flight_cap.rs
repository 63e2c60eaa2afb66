//! How many requests one worker may have in flight.

use crate::worker_info::WorkerInfo;
use std::num::NonZeroU32;

/// How many requests of one router a worker may have in flight at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InFlightCap {
    /// Any number.
    #[default]
    Unlimited,
    /// The same for all workers.
    Fixed(NonZeroU32),
    /// As many as the worker runs at once and as many again that wait there, so that a request that ends never leaves a place
    /// empty. At least [`LEAST_REPORTED_CAP`], and [`UNREPORTED_CAP`] where the worker does not say how many it runs.
    FromReport,
}

/// The least of [`InFlightCap::FromReport`]: a worker with few places may have many short requests.
pub const LEAST_REPORTED_CAP: u32 = 256;

/// [`InFlightCap::FromReport`] of a worker that does not say how many requests it runs at once. vLLM, which does not, runs 1,024
/// at most unless it is told otherwise.
pub const UNREPORTED_CAP: u32 = 2048;

impl InFlightCap {
    /// The cap of one worker; `None` for no cap.
    pub(crate) fn of(self, info: &WorkerInfo) -> Option<u32> {
        match self {
            Self::Unlimited => None,
            Self::Fixed(cap) => Some(cap.get()),
            Self::FromReport => Some(match info.max_running_requests {
                Some(running) => running.saturating_mul(2).max(LEAST_REPORTED_CAP),
                None => UNREPORTED_CAP,
            }),
        }
    }

    /// Whether there is none.
    pub fn is_unlimited(self) -> bool {
        self == Self::Unlimited
    }
}
