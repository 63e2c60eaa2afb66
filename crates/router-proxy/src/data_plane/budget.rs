//! A bound on retries, so that they cannot multiply an outage.
//!
//! Counted are attempts that cost the fleet something beyond the request itself: those after a worker answered, and
//! second copies. An attempt in place of one whose connection broke, or whose worker is in trouble, costs nothing more
//! than the request, so it is free.

use router_core::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far back requests and retries count, in seconds.
const WINDOW: u64 = 10;

/// Retries within the window that are allowed at any traffic.
const RESERVE: u64 = 100;

/// One more than the window, because the present second is not over; a power of two.
const SLOTS: usize = 16;

/// Requests and retries of late.
#[derive(Debug)]
pub(crate) struct Budget {
    share: f64,
    requests: Count,
    retries: Count,
}

impl Budget {
    /// A budget of `share` retries for each request.
    pub(crate) fn new(share: f64) -> Self {
        Self { share, requests: Count::default(), retries: Count::default() }
    }

    /// Notes a request.
    pub(super) fn earn(&self, now: Time) {
        self.requests.add(now);
    }

    /// Whether another retry is allowed.
    pub(super) fn allows(&self, now: Time) -> bool {
        let most = RESERVE as f64 + self.share * self.requests.total(now) as f64;
        ((self.retries.total(now) + 1) as f64) <= most
    }

    /// Notes a retry.
    pub(super) fn spend(&self, now: Time) {
        self.retries.add(now);
    }
}

/// Counts by second, each with the low half of its second, so that old ones are known for what they are.
#[derive(Debug, Default)]
struct Count([AtomicU64; SLOTS]);

const fn second(now: Time) -> u64 {
    (now.as_nanos() / 1_000_000_000) & 0xFFFF_FFFF
}

impl Count {
    fn add(&self, now: Time) {
        let second = second(now);
        let slot = &self.0[second as usize % SLOTS];
        let _ = slot.fetch_update(Relaxed, Relaxed, |old| {
            let count = if old >> 32 == second { old & 0xFFFF_FFFF } else { 0 };
            Some(second << 32 | (count + 1).min(0xFFFF_FFFF))
        });
    }

    fn total(&self, now: Time) -> u64 {
        let second = second(now);
        let slots = self.0.iter().map(|slot| slot.load(Relaxed));
        slots.filter(|slot| second.wrapping_sub(slot >> 32) < WINDOW).map(|slot| slot & 0xFFFF_FFFF).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: f64) -> Time {
        Time::from_secs_f64(secs)
    }

    #[test]
    fn retries_are_a_share_of_live_traffic_and_a_reserve() {
        let budget = Budget::new(0.2);
        let spend_all = |now: Time| {
            let mut spent = 0;
            while budget.allows(now) {
                budget.spend(now);
                spent += 1;
            }
            spent
        };
        assert_eq!(spend_all(at(100.0)), 100);
        (0..500).for_each(|_| budget.earn(at(101.0)));
        assert_eq!(spend_all(at(101.5)), 100, "a fifth of 500");
        assert_eq!(spend_all(at(109.9)), 0);
        assert_eq!(spend_all(at(110.0)), 100, "those of second 100 are forgotten, the requests are not");
        assert_eq!(spend_all(at(130.0)), 100);
    }
}
