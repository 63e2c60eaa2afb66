//! Prefill and decode apart: one request on two workers, one that reads the prompt and one that writes the answer.
//!
//! Each leg is a dispatch of its own, on a balancer of its own, with a lease that rides to the leg's end. What one leg
//! comes to ends the other: a failure before the client has a byte drops both and, where the rules allow it, chooses
//! both anew. Without `--pd-disaggregation` nothing here is on a request's way.

mod in_turn;
mod paired;
mod pairing;
mod prefill;
mod together;

pub(super) use paired::{Bond, Paired};
pub(super) use pairing::Pairing;

use super::forward::Exchange;
use crate::router::Shared;
use http::{HeaderName, Method};
use router_config::PdProtocol;
use router_core::Rng;
use router_telemetry::is_split;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header that names the worker that read the prompt.
const PREFILL_WORKER: HeaderName = HeaderName::from_static("x-sglang-prefill-worker");

/// The workers that read prompts for others, and how they hand them over.
#[derive(Debug)]
pub(crate) struct Disaggregation {
    protocol: PdProtocol,
    /// Their balancer, and all that belongs to it.
    pub(crate) pool: Arc<Shared>,
    rooms: Rooms,
}

impl Disaggregation {
    pub(crate) const fn new(protocol: PdProtocol, pool: Arc<Shared>, seed: u64) -> Self {
        Self { protocol, pool, rooms: Rooms { seed, count: AtomicU64::new(0) } }
    }

    /// Whether a request is split. All others go to one of the workers that write answers, as they are.
    pub(super) fn takes(&self, exchange: &Exchange<'_>) -> bool {
        is_split(exchange.route) && exchange.method == Method::POST
    }
}

/// Numbers of bootstrap rooms. Two requests that meet in one room would read each other's prompts, so the numbers are
/// drawn from 63 bits, and no two of one router are alike for as long as it runs.
#[derive(Debug)]
struct Rooms {
    seed: u64,
    count: AtomicU64,
}

impl Rooms {
    /// The next room. SGLang keeps it in a signed number of 64 bits.
    fn next(&self) -> u64 {
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
        let rooms = Rooms { seed: 7, count: AtomicU64::new(0) };
        let all: HashSet<_> = (0..100_000).map(|_| rooms.next()).collect();
        assert_eq!(all.len(), 100_000);
        assert!(all.iter().all(|room| *room <= i64::MAX as u64));
        assert!(all.iter().any(|room| *room > 1 << 61), "all bits are used");
    }
}
