//! Lets one probe at a time through a half-open breaker.

use std::sync::atomic::AtomicU8;

/// Whether the next request that chooses a worker is a probe of its half-open breaker.
///
/// It changes only while the balancer is locked, so a worker that lets one probe in is never chosen for a second.
#[derive(Debug, Default)]
pub(crate) struct ProbeGate(pub(crate) AtomicU8);

impl ProbeGate {
    /// Requests are no probes.
    pub(crate) const OFF: u8 = 0;
    /// The next one is.
    pub(crate) const READY: u8 = 1;
    /// One is on its way; until it ends there is no other.
    pub(crate) const TAKEN: u8 = 2;
}
