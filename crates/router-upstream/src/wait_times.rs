//! Since when requests wait, so that the age of the queue is known.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The requests that wait, by the order in which they came.
#[derive(Debug, Default)]
pub struct WaitTimes {
    waiting: Mutex<WaitingSet>,
}

#[derive(Debug, Default)]
struct WaitingSet {
    next_number: u64,
    since: BTreeMap<u64, Instant>,
}

impl WaitTimes {
    /// A request waits from now on, until what is returned is dropped.
    pub fn enter(self: &Arc<Self>) -> WaitingSince {
        let mut waiting = self.waiting.lock();
        let number = waiting.next_number;
        waiting.next_number += 1;
        waiting.since.insert(number, Instant::now());
        WaitingSince { times: Arc::clone(self), number }
    }

    /// How many requests wait.
    pub fn count(&self) -> usize {
        self.waiting.lock().since.len()
    }

    /// For how long the oldest has waited; zero when none waits.
    pub fn age(&self) -> Duration {
        let first = self.waiting.lock().since.first_key_value().map(|(_, since)| *since);
        first.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// One request that waits.
#[derive(Debug)]
pub struct WaitingSince {
    times: Arc<WaitTimes>,
    number: u64,
}

impl Drop for WaitingSince {
    fn drop(&mut self) {
        self.times.waiting.lock().since.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn age_is_that_of_the_oldest_that_still_waits() {
        let times = Arc::<WaitTimes>::default();
        assert_eq!(times.age(), Duration::ZERO);
        let first = times.enter();
        tokio::time::advance(Duration::from_secs(3)).await;
        let second = times.enter();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((times.count(), times.age()), (2, Duration::from_secs(5)));
        drop(first);
        assert_eq!(times.age(), Duration::from_secs(2));
        drop(second);
        assert_eq!((times.count(), times.age()), (0, Duration::ZERO));
    }
}
