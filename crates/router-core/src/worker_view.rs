//! What policies see of a worker.

use crate::load_tracker::{LoadTracker, MaxAge};
use crate::worker_info::WorkerInfo;
use crate::{LoadReport, Time, WorkerId};

/// What every policy may know about one worker at this instant.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkerView<'a> {
    /// The worker.
    pub id: WorkerId,
    /// What is known about it.
    pub info: &'a WorkerInfo,
    /// Requests sent to it by this router and not finished.
    pub in_flight: u32,
    /// Prompt bytes of those requests.
    pub in_flight_bytes: u64,
    /// Tokens that those requests are expected to generate, each in all; 0 unless some policy
    /// [needs](crate::PolicyNeeds::forecast) forecasts.
    pub expected_output_tokens: f64,
    /// The last load report, however old.
    pub load: Option<&'a LoadReport>,
    /// Requests sent since that report.
    pub sent_since_report: u32,
    /// Requests finished since that report.
    pub finished_since_report: u32,
    /// The last report of each kind, and what was sent to the worker.
    pub(crate) tracker: &'a LoadTracker,
}

impl WorkerView<'_> {
    /// The worker's relative capacity, from 0 to 10^12 whatever was configured, so that sums are finite.
    pub fn weight(&self) -> f64 {
        self.info.share()
    }

    /// An amount of load, relative to the worker's capacity. Finite; the largest float when the capacity is 0.
    pub fn per_weight(&self, amount: f64) -> f64 {
        let weight = self.weight();
        if weight > 0.0 { (amount / weight).min(f64::MAX) } else { f64::MAX }
    }

    /// Requests in flight with one more, relative to the worker's capacity: what balances unequal workers
    /// ("generalised join the shortest queue").
    pub fn next_load(&self) -> f64 {
        self.per_weight(f64::from(self.in_flight) + 1.0)
    }

    /// Rank between equal costs of rules that do not count requests in flight: fewer for the weight first, then
    /// the higher priority.
    pub(crate) fn load_rank(&self) -> u64 {
        // The cast saturates; the resolution is 1/1024 of a request.
        u64::from((self.next_load() * 1024.0) as u32) << 32 | u64::from(self.rank())
    }

    /// Rank between equal costs: lower for the higher priority.
    pub(crate) const fn rank(&self) -> u32 {
        u32::MAX - self.info.priority
    }

    /// The last queue length that the worker reported, corrected by what was sent and finished since, never below
    /// zero (docs/policies/shortest_queue.md).
    pub fn estimated_waiting(&self) -> Option<u32> {
        self.tracker.waiting(None)
    }

    /// [`estimated_waiting`](Self::estimated_waiting), if it was reported at most `max_age_secs` ago.
    pub fn fresh_waiting(&self, now: Time, max_age_secs: f64) -> Option<u32> {
        self.tracker.waiting(Some(MaxAge { now, secs: max_age_secs }))
    }

    /// Requests running and waiting, as reported at most `max_age_secs` ago, corrected by what was sent and finished since.
    pub fn fresh_requests(&self, now: Time, max_age_secs: f64) -> Option<u32> {
        self.tracker.requests(MaxAge { now, secs: max_age_secs })
    }

    /// Tokens held or waiting, as reported at most `max_age_secs` ago, plus the prompts sent and less those finished
    /// since, at four bytes a token.
    pub fn fresh_tokens(&self, now: Time, max_age_secs: f64) -> Option<f64> {
        self.tracker.tokens(MaxAge { now, secs: max_age_secs })
    }

    /// The last report, if it is at most `max_age_secs` old.
    pub fn fresh_load(&self, now: Time, max_age_secs: f64) -> Option<&LoadReport> {
        self.load.filter(|r| now.secs_since(r.at) <= max_age_secs)
    }
}
