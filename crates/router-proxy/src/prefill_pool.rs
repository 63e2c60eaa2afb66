//! The workers that prefill for others, where prefill and decode are apart.

use router_config::PdProtocol;
use router_core::Rng;
use router_upstream::WorkerPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The workers that prefill for others, and how they hand prompts over.
#[derive(Debug)]
pub(crate) struct PrefillPool {
    pub(crate) protocol: PdProtocol,
    pub(crate) pool: Arc<WorkerPool>,
    pub(crate) rooms: BootstrapRooms,
}

impl PrefillPool {
    pub(crate) const fn new(protocol: PdProtocol, pool: Arc<WorkerPool>, seed: u64) -> Self {
        Self { protocol, pool, rooms: BootstrapRooms { seed, count: AtomicU64::new(0) } }
    }
}

/// Numbers of bootstrap rooms. Two requests in one room would read each other's prompts, so the numbers are drawn from
/// 63 bits, and no two of one router are alike for as long as it runs.
#[derive(Debug)]
pub(crate) struct BootstrapRooms {
    seed: u64,
    count: AtomicU64,
}

impl BootstrapRooms {
    /// The next room. SGLang keeps it in a signed number of 64 bits.
    pub(crate) fn next(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        Rng::seeded(self.seed ^ count.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next_u64() >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rooms_differ_and_fit_into_63_bits() {
        let rooms = BootstrapRooms { seed: 7, count: AtomicU64::new(0) };
        let all: HashSet<_> = (0..100_000).map(|_| rooms.next()).collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|room| *room <= i64::MAX as u64));
        assert!(all.iter().any(|room| *room > 1 << 61), "all bits are used");
    }
}
