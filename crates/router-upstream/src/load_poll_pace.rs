//! How often the load of one worker is polled: rarely while it is idle.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::Notify;

/// An idle worker is polled at this interval. It is shorter than the 4 s after which its connection is closed, so that no poll has
/// to open one.
const IDLE_INTERVAL: Duration = Duration::from_secs(3);

/// A worker is idle after this many reports in a row that say so.
const IDLE_REPORTS: u32 = 5;

/// Says how soon a worker is polled again. A request that is sent to an idle worker ends the long pause.
#[derive(Debug, Default)]
pub(crate) struct LoadPollPace {
    is_slow: AtomicBool,
    sent: Notify,
}

impl LoadPollPace {
    /// The pause after `idle_reports` reports in a row of an idle worker. `interval` is that of a busy one.
    pub(crate) fn pause(&self, interval: Duration, idle_reports: u32) -> Duration {
        let is_slow = idle_reports >= IDLE_REPORTS;
        self.is_slow.store(is_slow, Relaxed);
        if is_slow { interval.max(IDLE_INTERVAL) } else { interval }
    }

    /// A request is sent to the worker.
    pub(crate) fn request_sent(&self) {
        if self.is_slow.load(Relaxed) && self.is_slow.swap(false, Relaxed) {
            self.sent.notify_one();
        }
    }

    /// Waits for a request that is sent to the worker while it is polled rarely.
    pub(crate) async fn woken(&self) {
        self.sent.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn idle_worker_is_polled_rarely_until_a_request() {
        let (pace, interval) = (LoadPollPace::default(), Duration::from_millis(100));
        pace.request_sent();
        assert!(pace.woken().now_or_never().is_none(), "a busy worker is polled anyway");
        assert_eq!(pace.pause(interval, IDLE_REPORTS - 1), interval);
        assert_eq!(pace.pause(interval, IDLE_REPORTS), IDLE_INTERVAL);
        assert!(pace.woken().now_or_never().is_none());
        pace.request_sent();
        assert!(pace.woken().now_or_never().is_some(), "the first request ends the long pause");
        pace.request_sent();
        assert!(pace.woken().now_or_never().is_none());
        let long = Duration::from_secs(10);
        assert_eq!(pace.pause(long, IDLE_REPORTS), long, "never more often than configured");
    }
}
