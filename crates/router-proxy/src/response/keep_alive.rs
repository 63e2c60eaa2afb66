//! What a client is sent while a worker says nothing of a stream, so that no proxy on the way takes the connection for idle.

use crate::timer::LazyTimer;
use bytes::Bytes;
use router_core::Route;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// A comment, which readers of events skip.
const COMMENT: Bytes = Bytes::from_static(b": ping\n\n");

/// Anthropic's API sends this event, and its clients expect it.
const PING_EVENT: Bytes = Bytes::from_static(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");

/// Keep-alives of one stream.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Duration,
    event: Bytes,
    /// When the next one is due; absent until the client waits for the first time.
    due: Option<Instant>,
    timer: LazyTimer,
}

impl KeepAlive {
    /// Keep-alives after each `interval` of silence, as the clients of the route know them.
    pub(super) fn new(interval: Duration, route: Route) -> Self {
        let event = if route == Route::Messages { PING_EVENT } else { COMMENT };
        Self { interval, event, due: None, timer: LazyTimer::default() }
    }

    /// The worker was silent before its body began.
    pub(super) fn send_now(&mut self) {
        self.due = Some(Instant::now());
    }

    /// The worker sent something.
    pub(super) const fn record_activity(&mut self) {
        self.due = None;
    }

    /// The next keep-alive, once it is due.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.interval);
        self.timer.poll(due, cx).map(|()| {
            self.due = None;
            self.event.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_event() {
        let secs = Duration::from_secs;
        let (mut keep_alive, begin) = (KeepAlive::new(secs(15), Route::ChatCompletions), Instant::now());
        for due in [15, 30] {
            assert_eq!(poll_fn(|cx| keep_alive.poll(cx)).await, ": ping\n\n");
            assert_eq!(begin.elapsed(), secs(due), "after each interval");
        }
        assert!(futures_util::poll!(poll_fn(|cx| keep_alive.poll(cx))).is_pending());
        tokio::time::advance(secs(14)).await;
        keep_alive.record_activity();
        poll_fn(|cx| keep_alive.poll(cx)).await;
        assert_eq!(begin.elapsed(), secs(30 + 14 + 15));
    }
}
