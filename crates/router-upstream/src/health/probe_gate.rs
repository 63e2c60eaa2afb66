//! Lets one probe at a time through a half-open breaker.

use std::sync::atomic::AtomicU8;

/// Whether the next request that chooses a worker is a probe of its half-open breaker.
///
/// It changes only while the balancer is locked, so a worker never gets a second probe at the same time.
#[derive(Debug, Default)]
pub(crate) struct ProbeGate(pub(crate) AtomicU8);

impl ProbeGate {
    /// The next request is no probe.
    pub(crate) const OFF: u8 = 0;
    /// The next request is a probe.
    pub(crate) const READY: u8 = 1;
    /// A probe is in flight; no other one is sent until it ends.
    pub(crate) const TAKEN: u8 = 2;
}
