//! A bound on retries, so that they cannot multiply an outage.
//!
//! Counted are attempts that cost the fleet something beyond the request itself: those after a worker responded, and
//! hedges. An attempt in place of one whose connection broke, or whose worker is unhealthy, costs nothing more than the
//! request, so it is free. The shape is that of tower's budget by time, with a reserve for light traffic.

use parking_lot::Mutex;
use router_core::Time;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How far back requests and retries count, in seconds.
const WINDOW: u64 = 10;

/// Retries within the window that are allowed at any traffic.
const RESERVE: u64 = 100;

/// One more than the window, because the present second is not over; a power of two.
const SLOTS: usize = 16;

/// Requests and retries of the last seconds.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// The bits of the share.
    share: AtomicU64,
    requests: SecondCounts,
    /// Read and counted in one step, so that requests that retry at once cannot overdraw it together.
    retries: Mutex<SecondCounts>,
}

/// One retry that is withdrawn. Dropped, it goes back to the budget unless it is [kept](Self::keep).
#[derive(Debug)]
#[must_use]
pub(crate) struct Withdrawal<'a> {
    budget: &'a RetryBudget,
    at: Time,
}

impl Withdrawal<'_> {
    /// The retry is made.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        self.budget.retries.lock().remove(self.at);
    }
}

impl RetryBudget {
    /// A budget of `share` retries for each request.
    pub(crate) fn new(share: f64) -> Self {
        Self {
            share: AtomicU64::new(share.to_bits()),
            requests: SecondCounts::default(),
            retries: Mutex::default(),
        }
    }

    /// Changes the share.
    pub(crate) fn set_share(&self, share: f64) {
        self.share.store(share.to_bits(), Relaxed);
    }

    /// Notes a request.
    pub(crate) fn deposit(&self, now: Time) {
        self.requests.add(now);
    }

    /// Takes one retry, if one is left.
    pub(crate) fn withdraw(&self, now: Time) -> Option<Withdrawal<'_>> {
        let most =
            RESERVE as f64 + f64::from_bits(self.share.load(Relaxed)) * self.requests.total(now) as f64;
        let retries = self.retries.lock();
        if ((retries.total(now) + 1) as f64) > most {
            return None;
        }
        retries.add(now);
        Some(Withdrawal { budget: self, at: now })
    }
}

/// Counts by second. Each holds the low half of its second beside its count, so that an old one is known as such.
#[derive(Debug, Default)]
struct SecondCounts([AtomicU64; SLOTS]);

const fn second(now: Time) -> u64 {
    (now.as_nanos() / 1_000_000_000) & 0xFFFF_FFFF
}

impl SecondCounts {
    fn add(&self, now: Time) {
        let second = second(now);
        let slot = &self.0[second as usize % SLOTS];
        let _ = slot.fetch_update(Relaxed, Relaxed, |old| {
            let count = if old >> 32 == second { old & 0xFFFF_FFFF } else { 0 };
            Some(second << 32 | (count + 1).min(0xFFFF_FFFF))
        });
    }

    /// Takes back what was added at `at`, unless that second is forgotten.
    fn remove(&self, at: Time) {
        let second = second(at);
        let slot = &self.0[second as usize % SLOTS];
        let _ = slot.fetch_update(Relaxed, Relaxed, |old| {
            (old >> 32 == second && old & 0xFFFF_FFFF > 0).then(|| old - 1)
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
    fn share_of_traffic_and_reserve() {
        let budget = RetryBudget::new(0.2);
        let spend_all = |now: Time| {
            let mut spent = 0;
            while let Some(withdrawal) = budget.withdraw(now) {
                withdrawal.keep();
                spent += 1;
            }
            spent
        };
        assert_eq!(spend_all(at(100.0)), 100);
        (0..500).for_each(|_| budget.deposit(at(101.0)));
        assert_eq!(spend_all(at(101.5)), 100, "a fifth of 500");
        assert_eq!(spend_all(at(109.9)), 0);
        assert_eq!(spend_all(at(110.0)), 100, "those of second 100 are forgotten, the requests are not");
        assert_eq!(spend_all(at(130.0)), 100);
    }

    #[test]
    fn unused_withdrawal_goes_back() {
        let budget = RetryBudget::new(0.0);
        let withdrawals: Vec<_> = (0..100).map_while(|_| budget.withdraw(at(5.0))).collect();
        assert_eq!(withdrawals.len(), 100);
        assert!(budget.withdraw(at(5.0)).is_none());
        drop(withdrawals);
        assert!(budget.withdraw(at(5.5)).is_some());
    }
}
