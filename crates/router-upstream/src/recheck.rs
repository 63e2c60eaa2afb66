//! Requests for a health check before its interval has passed.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

/// Asks the health checker of one worker for a check now, and says whether the server may be another one than before.
#[derive(Debug, Default)]
pub(crate) struct Recheck {
    requested: Notify,
    is_suspected: AtomicBool,
}

impl Recheck {
    /// Starts a check now.
    pub(crate) fn request(&self) {
        self.requested.notify_one();
    }

    /// A connection ended that the server had promised to keep: another server may have taken its place.
    pub(crate) fn suspect_replacement(&self) {
        if !self.is_suspected.swap(true, Relaxed) {
            self.requested.notify_one();
        }
    }

    /// Waits until a check is asked for.
    pub(crate) async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Whether another server may have taken the place of the one that was asked last what it is.
    pub(crate) fn is_suspected(&self) -> bool {
        self.is_suspected.load(Relaxed)
    }

    /// The same, and the suspicion ends: the server is asked now.
    pub(crate) fn take_suspicion(&self) -> bool {
        self.is_suspected.swap(false, Relaxed)
    }
}
