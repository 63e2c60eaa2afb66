//! Workers that said they have no room are spared for a moment, as long as there is anybody else.
//!
//! A busy worker is not a broken one, so its breaker takes no note. But asking it again at once, for every request,
//! costs each of them a detour and the fleet a retry.

use crate::candidate::Candidate;
use crate::table::CandidateTable;
use router_core::{Time, WorkerId};
use smallvec::SmallVec;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// For so long, when the worker does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// For no longer, whatever it says: it knows its queue, not the fleet.
const LONGEST: Duration = Duration::from_secs(10);

impl Candidate {
    fn is_cooling(&self, now: Time) -> bool {
        self.busy_until.load(Relaxed) > now.as_nanos()
    }
}

impl CandidateTable {
    /// Notes that `worker` has no room, and for how long it says so.
    pub fn cool_down(&self, worker: &Candidate, now: Time, retry_after: Option<Duration>) {
        let until = (now + retry_after.unwrap_or(PAUSE).min(LONGEST)).as_nanos();
        worker.busy_until.fetch_max(until, Relaxed);
        self.busy_until.fetch_max(until, Relaxed);
    }

    /// Adds the workers that have no room to `exclude`. Costs one look when there are none, as is usual.
    pub fn exclude_cooling(&self, now: Time, exclude: &mut SmallVec<[WorkerId; 4]>) {
        if self.busy_until.load(Relaxed) > now.as_nanos() {
            let busy = self.table.load();
            exclude.extend(busy.candidates.iter().flatten().filter(|w| w.is_cooling(now)).map(|w| w.id));
        }
    }
}
