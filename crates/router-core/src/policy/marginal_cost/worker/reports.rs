//! What a worker reports of its own work.

use super::WorkerModel;
use crate::{Time, WorkTotals};

impl WorkerModel {
    /// Learns from the work totals that the worker reports; two reports give its speed between them.
    pub(in super::super) fn reported(&mut self, now: Time, waiting: Option<u32>, work: &WorkTotals) {
        if waiting.is_some_and(|waiting| waiting > 0) {
            self.watch.found_full(now);
        }
        if *work == WorkTotals::NONE {
            return;
        }
        let (before, then) = std::mem::replace(&mut self.last_report, (*work, self.totals));
        if let (Some(from), Some(to)) = (before.decode, work.decode) {
            let held = self.sums.resident / self.sums.requests.max(1.0);
            self.learner.decoded(std::array::from_fn(|i| to[i] - from[i]), held);
        }
        let computed = |work: &WorkTotals| work.prefill_tokens.zip(work.prefill_busy_us);
        if let (Some(from), Some(to)) = (computed(&before), computed(work)) {
            let uncached = to.0.saturating_sub(from.0) as f64;
            let own = self.totals.uncached - then.uncached;
            // Other routers' prompts are taken to come in batches like ours.
            let prefills =
                (self.totals.prefills - then.prefills) * if own > 0.0 { uncached / own } else { 0.0 };
            self.learner.prefilled(prefills, uncached, to.1.saturating_sub(from.1) as f64 * 1e-6);
        }
        self.update_speed();
    }
}
