//! After a 429 or 503, a worker is not chosen for a moment as long as there is another one.
//!
//! A busy worker has not failed, so its breaker does not count this. But sending every new request to it first would
//! cost each of them a retry.

use crate::candidate::Candidate;
use crate::table::CandidateTable;
use router_core::{Time, WorkerId};
use smallvec::SmallVec;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Cool-down when the response has no `retry-after`.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest cool-down, whatever `retry-after` says: a worker knows its own queue, not the fleet.
const LONGEST: Duration = Duration::from_secs(10);

impl Candidate {
    fn is_cooling(&self, now: Time) -> bool {
        self.busy_until.load(Relaxed) > now.as_nanos()
    }
}

impl CandidateTable {
    /// Starts the cool-down of `worker`, for as long as `retry_after` says.
    pub fn cool_down(&self, worker: &Candidate, now: Time, retry_after: Option<Duration>) {
        let until = (now + retry_after.unwrap_or(PAUSE).min(LONGEST)).as_nanos();
        worker.busy_until.fetch_max(until, Relaxed);
        self.busy_until.fetch_max(until, Relaxed);
    }

    /// Adds the candidates in cool-down to `exclude`. Costs one atomic load when there are none.
    pub fn exclude_cooling(&self, now: Time, exclude: &mut SmallVec<[WorkerId; 4]>) {
        if self.busy_until.load(Relaxed) > now.as_nanos() {
            let busy = self.table.load();
            exclude.extend(busy.iter().flatten().filter(|w| w.is_cooling(now)).map(|w| w.id));
        }
    }
}
