//! The right of one request to occupy one worker.

use crate::event_history::HistoryPlace;
use crate::fleet::RequestLoad;
use crate::length_forecaster::RequestClasses;
use crate::scaling::RequestMark;
use crate::{LengthForecast, RequestId, Time, WorkerId};

/// The right of one request to occupy one worker. Not `Clone`: [`Balancer::finish`](crate::Balancer::finish) consumes it, exactly once.
#[must_use = "an unfinished ticket leaks in-flight load"]
#[derive(Debug)]
pub struct Ticket {
    pub(crate) worker: WorkerId,
    pub(crate) request: RequestId,
    pub(crate) attempt: u32,
    pub(crate) load: RequestLoad,
    pub(crate) arrived_at: Option<Time>,
    pub(crate) dispatched_at: Time,
    pub(crate) most_output_tokens: u32,
    /// What its length is learned by, if some policy needs forecasts.
    pub(crate) classes: Option<RequestClasses>,
    /// What is expected of its length, likewise.
    pub(crate) forecast: Option<LengthForecast>,
    pub(crate) predicted_cached_tokens: Option<u32>,
    pub(crate) mark: RequestMark,
    /// Where in the history it was sent.
    pub(crate) place: HistoryPlace,
}

impl Ticket {
    /// The worker it occupies.
    pub const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// When the request was assigned.
    pub const fn dispatched_at(&self) -> Time {
        self.dispatched_at
    }
}
