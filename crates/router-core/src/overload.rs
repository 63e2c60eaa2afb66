//! When a worker counts as overloaded, by what its engine reports.

use crate::Time;
use crate::load_tracker::{LoadTracker, ReportedValue};
use crate::worker_info::WorkerInfo;
use std::num::NonZeroU32;
use std::time::Duration;

/// [`OverloadBounds::waiting`] unless configured.
pub const DEFAULT_OVERLOAD_WAITING: u32 = 256;

/// [`OverloadBounds::max_report_age`] unless polls are so far apart that it would be too short.
const DEFAULT_MAX_REPORT_AGE: Duration = Duration::from_secs(5);

/// Bounds on the load that an engine reports. A worker that has reached one of them is overloaded: it is no candidate while
/// another worker is one.
///
/// ```
/// use router_core::OverloadBounds;
///
/// let bounds = OverloadBounds { kv_usage: Some(0.9), ..OverloadBounds::STANDARD };
/// assert!(bounds.waiting.is_some() && !bounds.is_off());
/// assert!(OverloadBounds::default().is_off());
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OverloadBounds {
    /// A worker with so many requests that wait to be scheduled is overloaded; `None` for no bound. The number is the last
    /// reported one, plus the requests sent and less those finished since. Those that the worker has a place for do not count,
    /// where it says how many it runs at once and its cache is not full.
    pub waiting: Option<NonZeroU32>,
    /// A worker with such a share of its KV cache in use, 0 to 1, is overloaded; `None` for no bound. Where the size of the
    /// cache is known, prompts sent since the report are added, and those finished subtracted, at four bytes a token.
    pub kv_usage: Option<f64>,
    /// Age up to which a report counts, so that a worker that stops reporting gets requests again.
    pub max_report_age: Duration,
}

impl Default for OverloadBounds {
    fn default() -> Self {
        Self::OFF
    }
}

impl OverloadBounds {
    /// No bounds: no worker is overloaded.
    pub const OFF: Self = Self { waiting: None, kv_usage: None, max_report_age: DEFAULT_MAX_REPORT_AGE };

    /// The bounds of a router, and of a simulation, that are told no others. There is none on the KV cache: where caches are
    /// full on the whole fleet, leaving out the fullest worker costs more hits than it saves (docs/overload.md).
    pub const STANDARD: Self = Self { waiting: NonZeroU32::new(DEFAULT_OVERLOAD_WAITING), ..Self::OFF };

    /// Whether there is no bound.
    pub const fn is_off(&self) -> bool {
        self.waiting.is_none() && self.kv_usage.is_none()
    }

    /// These bounds where a worker is polled once in `interval`: its reports count until three polls were missed, at least
    /// for five seconds.
    #[must_use]
    pub fn polled_every(self, interval: Duration) -> Self {
        Self { max_report_age: interval.saturating_mul(3).max(DEFAULT_MAX_REPORT_AGE), ..self }
    }

    /// Until when a worker is overloaded if it reports nothing more and no request of it ends; `None` if it is below all
    /// bounds.
    pub(crate) fn overloaded_until(&self, tracker: &LoadTracker, info: &WorkerInfo) -> Option<Time> {
        let queue = self.waiting.and_then(|most| {
            let queue = tracker.queue(info.max_running_requests)?;
            (queue.value >= most.get()).then_some(queue.at)
        });
        let cache = self.kv_usage.and_then(|most| {
            let ReportedValue { value, at } = tracker.kv_usage(info.max_total_tokens)?;
            (value >= most).then_some(at)
        });
        queue.max(cache).map(|reported_at| reported_at + self.max_report_age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadReport, LoadSource};

    fn is_overloaded(info: &WorkerInfo, report: LoadReport, sent: u32) -> bool {
        let mut tracker = LoadTracker::default();
        tracker.reported(&report);
        (0..sent).for_each(|_| tracker.dispatched(4000));
        let bounds =
            OverloadBounds { waiting: NonZeroU32::new(8), kv_usage: Some(0.9), ..OverloadBounds::OFF };
        bounds.overloaded_until(&tracker, info).is_some()
    }

    const EMPTY: LoadReport = LoadReport::empty(Time::ZERO, LoadSource::Poll);

    #[test]
    fn requests_sent_since_the_report_take_free_places_first() {
        let info = WorkerInfo { max_running_requests: Some(100), ..WorkerInfo::new("http://w") };
        let idle = LoadReport { waiting: Some(0), running: Some(60), ..EMPTY };
        assert!(!is_overloaded(&info, idle, 47), "40 run at once and 7 wait");
        assert!(is_overloaded(&info, idle, 48));
        let queueing = LoadReport { waiting: Some(1), running: Some(60), ..EMPTY };
        assert!(!is_overloaded(&info, queueing, 6));
        assert!(is_overloaded(&info, queueing, 7), "where requests wait, no place may be free");
        let starting = LoadReport { kv_usage: Some(0.3), ..queueing };
        assert!(
            !is_overloaded(&info, starting, 46),
            "the cache has room: the one that waits is about to start"
        );
        assert!(is_overloaded(&info, starting, 47));
        let unknown = WorkerInfo::new("http://w");
        assert!(is_overloaded(&unknown, idle, 8), "nobody knows how many run at once");
    }

    #[test]
    fn prompts_sent_since_the_report_fill_the_cache() {
        let info = WorkerInfo { max_total_tokens: Some(100_000), ..WorkerInfo::new("http://w") };
        let report = LoadReport { kv_usage: Some(0.85), ..EMPTY };
        assert!(!is_overloaded(&info, report, 4), "a prompt of a thousand tokens is a hundredth");
        assert!(is_overloaded(&info, report, 6));
        assert!(!is_overloaded(&WorkerInfo::new("http://w"), report, 1000), "its size is not known");
    }

    #[test]
    fn what_was_not_reported_is_no_overload() {
        assert!(!is_overloaded(&WorkerInfo::new("http://w"), EMPTY, 1000));
    }
}
