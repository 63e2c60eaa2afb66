//! What the policies of one pool need, which may change while it serves.

use router_config::LoadPolls;
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
    /// These needs.
    pub fn new(needs: PolicyNeeds, load_polls: LoadPolls) -> Self {
        let polls = watch::Sender::new(is_polled(needs, load_polls));
        Self { bits: AtomicU8::new(needs.bits()), polls }
    }

    /// The needs now.
    pub fn get(&self) -> PolicyNeeds {
        PolicyNeeds::from_bits(self.bits.load(Relaxed))
    }

    /// Changes them.
    pub fn set(&self, needs: PolicyNeeds, load_polls: LoadPolls) {
        self.bits.store(needs.bits(), Relaxed);
        self.polls.send_replace(is_polled(needs, load_polls));
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

fn is_polled(needs: PolicyNeeds, load_polls: LoadPolls) -> bool {
    needs.load_reports || load_polls == LoadPolls::Always
}
