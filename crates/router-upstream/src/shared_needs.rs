//! What the policies of one pool need, which may change while it serves.

use router_core::PolicyNeeds;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tokio::sync::watch;

/// What the policies of one pool need, and whether its workers are polled for their load.
#[derive(Debug)]
pub struct SharedNeeds {
    bits: AtomicU8,
    polls: watch::Sender<bool>,
}

impl SharedNeeds {
    /// These needs; workers are polled if a policy needs load reports.
    pub fn new(needs: PolicyNeeds) -> Self {
        Self { bits: AtomicU8::new(needs.bits()), polls: watch::Sender::new(needs.load_reports) }
    }

    /// The needs now.
    pub fn get(&self) -> PolicyNeeds {
        PolicyNeeds::from_bits(self.bits.load(Relaxed))
    }

    /// Changes them. Workers are polled from now on if a policy needs load reports, or `polls_anyway`.
    pub fn set(&self, needs: PolicyNeeds, polls_anyway: PollsAnyway) {
        self.bits.store(needs.bits(), Relaxed);
        self.polls.send_replace(needs.load_reports || polls_anyway == PollsAnyway::Yes);
    }

    /// Whether workers are polled for their load.
    pub fn polls(&self) -> bool {
        *self.polls.borrow()
    }

    /// Waits until workers are to be polled.
    pub(crate) async fn polls_wanted(&self) {
        // The sender lives as long as this.
        let _ = self.polls.subscribe().wait_for(|wanted| *wanted).await;
    }
}

/// Whether workers are polled though no policy needs their load: a bound of overload is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollsAnyway {
    /// They are.
    Yes,
    /// They are polled only for policies.
    No,
}

impl PollsAnyway {
    /// As a bound is set or not.
    pub const fn of(is_bound: bool) -> Self {
        if is_bound { Self::Yes } else { Self::No }
    }
}
