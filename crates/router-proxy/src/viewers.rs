//! Those who watch the router: what is sampled for all of them is encoded once, and nothing is sampled while there is none.

use bytes::Bytes;
use parking_lot::Mutex;
use router_live::{Delta, Snapshot};
use serde::Serialize;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

/// Most viewers at a time.
pub(crate) const MOST_VIEWERS: usize = 16;

/// Events that wait for a slow viewer. One that is further behind gets a new snapshot in their place.
const KEPT_EVENTS: usize = 4;

/// Those who watch the router.
#[derive(Debug)]
pub(crate) struct Viewers {
    audience: Mutex<Audience>,
    closing: CancellationToken,
    /// Where what they are shown is sampled: not on a thread that serves clients.
    background: Handle,
}

#[derive(Debug)]
struct Audience {
    viewers: usize,
    is_sampled: bool,
    events: broadcast::Sender<Bytes>,
    latest: Option<Arc<EncodedSnapshot>>,
}

/// A snapshot, encoded when the first viewer needs it.
#[derive(Debug)]
struct EncodedSnapshot {
    snapshot: Arc<Snapshot>,
    event: OnceLock<Bytes>,
}

impl EncodedSnapshot {
    fn event(&self) -> Bytes {
        self.event.get_or_init(|| event("snapshot", &*self.snapshot)).clone()
    }
}

/// An event of `text/event-stream`.
fn event(name: &str, data: &impl Serialize) -> Bytes {
    // Numbers, strings and lists of them can always be written.
    let data = serde_json::to_string(data).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// There are [`MOST_VIEWERS`] already, or the router stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotAdmitted {
    TooMany,
    Stopping,
}

/// One who watches, until it is dropped.
#[derive(Debug)]
pub(crate) struct Viewer {
    viewers: Arc<Viewers>,
    events: broadcast::Receiver<Bytes>,
    needs_snapshot: bool,
}

/// Publishes what is sampled, as long as somebody watches.
#[derive(Debug)]
pub(crate) struct Publisher {
    viewers: Arc<Viewers>,
    /// Another publisher may have taken its place.
    is_over: bool,
}

impl Viewers {
    /// Nobody watches yet. What is sampled is sampled on `background`.
    pub(crate) fn new(background: Handle) -> Arc<Self> {
        let audience = Audience {
            viewers: 0,
            is_sampled: false,
            events: broadcast::channel(KEPT_EVENTS).0,
            latest: None,
        };
        Arc::new(Self { audience: Mutex::new(audience), closing: CancellationToken::new(), background })
    }

    /// The runtime on which to sample.
    pub(crate) const fn background(&self) -> &Handle {
        &self.background
    }

    /// Somebody begins to watch. With the first one comes a publisher: its caller is to sample the router until
    /// [`Publisher::publish`] says that nobody watches any more.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<(Viewer, Option<Publisher>), NotAdmitted> {
        if self.closing.is_cancelled() {
            return Err(NotAdmitted::Stopping);
        }
        let mut audience = self.audience.lock();
        if audience.viewers >= MOST_VIEWERS {
            return Err(NotAdmitted::TooMany);
        }
        audience.viewers += 1;
        let events = audience.events.subscribe();
        let is_first = !std::mem::replace(&mut audience.is_sampled, true);
        let viewer = Viewer { viewers: Arc::clone(self), events, needs_snapshot: true };
        Ok((viewer, is_first.then(|| Publisher { viewers: Arc::clone(self), is_over: false })))
    }

    /// Ends all streams, and lets nobody watch any more.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// How many watch now.
    pub(crate) fn count(&self) -> usize {
        self.audience.lock().viewers
    }
}

impl Viewer {
    /// The next event; `None` when the router stops.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let closing = self.viewers.closing.clone();
        closing.run_until_cancelled(self.next_event()).await.flatten()
    }

    async fn next_event(&mut self) -> Option<Bytes> {
        loop {
            if self.needs_snapshot
                && let Some(latest) = self.catch_up()
            {
                self.needs_snapshot = false;
                return Some(latest.event());
            }
            match self.events.recv().await {
                // The first snapshot is there.
                Ok(_) if self.needs_snapshot => {}
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(_)) => self.needs_snapshot = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The latest snapshot, after which exactly the later deltas come.
    fn catch_up(&mut self) -> Option<Arc<EncodedSnapshot>> {
        let audience = self.viewers.audience.lock();
        let latest = audience.latest.clone()?;
        self.events = audience.events.subscribe();
        Some(latest)
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.audience.lock().viewers -= 1;
    }
}

/// Whether somebody still watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watched {
    Yes,
    No,
}

impl Publisher {
    /// Shows a snapshot to all viewers: those that have the one before get `delta`.
    pub(crate) fn publish(&mut self, snapshot: Arc<Snapshot>, delta: &Delta) -> Watched {
        let changes = event("delta", delta);
        let mut audience = self.viewers.audience.lock();
        if audience.viewers == 0 || self.viewers.closing.is_cancelled() {
            (audience.is_sampled, audience.latest) = (false, None);
            self.is_over = true;
            return Watched::No;
        }
        audience.latest = Some(Arc::new(EncodedSnapshot { snapshot, event: OnceLock::new() }));
        // Nobody may be listening at this very moment.
        let _ = audience.events.send(changes);
        Watched::Yes
    }
}

impl Drop for Publisher {
    /// Sampling has ended, by whatever way: the next viewer begins it anew.
    fn drop(&mut self) {
        if !self.is_over {
            let mut audience = self.viewers.audience.lock();
            (audience.is_sampled, audience.latest) = (false, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(publisher: &mut Publisher, seq: u64) -> Watched {
        let snapshot = Arc::new(Snapshot { seq, ..Snapshot::default() });
        publisher.publish(snapshot, &Delta { seq, ..Delta::default() })
    }

    /// The name and the number of an event.
    async fn next(viewer: &mut Viewer) -> (String, u64) {
        let event = viewer.next().await.unwrap();
        let text = std::str::from_utf8(&event).unwrap();
        let (name, data) = text.strip_prefix("event: ").unwrap().split_once("\ndata: ").unwrap();
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        (name.to_owned(), data["seq"].as_u64().unwrap())
    }

    fn is(name: &str, seq: u64) -> (String, u64) {
        (name.to_owned(), seq)
    }

    #[tokio::test]
    async fn snapshot_comes_first_and_deltas_follow_on_it() {
        let viewers = Viewers::new(Handle::current());
        let (mut first, publisher) = viewers.enter().unwrap();
        let mut publisher = publisher.unwrap();
        publish(&mut publisher, 0);
        publish(&mut publisher, 1);
        assert_eq!(next(&mut first).await, is("snapshot", 1), "the newest");
        publish(&mut publisher, 2);
        let (mut second, none) = viewers.enter().unwrap();
        assert!(none.is_none(), "one sampler for all");
        assert_eq!(next(&mut second).await, is("snapshot", 2));
        publish(&mut publisher, 3);
        assert_eq!((next(&mut first).await, next(&mut first).await), (is("delta", 2), is("delta", 3)));
        assert_eq!(next(&mut second).await, is("delta", 3));
    }

    #[tokio::test]
    async fn slow_viewer_gets_a_snapshot_in_place_of_what_it_missed() {
        let viewers = Viewers::new(Handle::current());
        let (mut viewer, publisher) = viewers.enter().unwrap();
        let mut publisher = publisher.unwrap();
        publish(&mut publisher, 0);
        assert_eq!(next(&mut viewer).await, is("snapshot", 0));
        (1..100).for_each(|seq| assert_eq!(publish(&mut publisher, seq), Watched::Yes));
        assert_eq!(next(&mut viewer).await, is("snapshot", 99));
        publish(&mut publisher, 100);
        assert_eq!(next(&mut viewer).await, is("delta", 100));
    }

    #[tokio::test]
    async fn sampling_ends_with_the_last_viewer_and_begins_with_the_next() {
        let viewers = Viewers::new(Handle::current());
        let all: Vec<_> = (0..MOST_VIEWERS).map(|_| viewers.enter().unwrap()).collect();
        assert_eq!(viewers.enter().unwrap_err(), NotAdmitted::TooMany);
        let mut publishers: Vec<_> = all.into_iter().filter_map(|(_, publisher)| publisher).collect();
        let mut publisher = publishers.pop().unwrap();
        assert_eq!((publish(&mut publisher, 7), viewers.count()), (Watched::No, 0));
        drop(publisher);
        let (mut viewer, publisher) = viewers.enter().unwrap();
        // It is kept, because what it showed goes with it.
        let mut publisher = publisher.unwrap();
        publish(&mut publisher, 0);
        assert_eq!(next(&mut viewer).await, is("snapshot", 0), "nothing old is shown");
    }

    #[tokio::test]
    async fn streams_end_with_the_router() {
        let viewers = Viewers::new(Handle::current());
        let (mut viewer, publisher) = viewers.enter().unwrap();
        viewers.close();
        assert_eq!(viewer.next().await, None);
        assert_eq!(publish(&mut publisher.unwrap(), 0), Watched::No);
        assert_eq!(viewers.enter().unwrap_err(), NotAdmitted::Stopping);
    }
}
