//! Trials: requests that are sent to a worker of which little is known, although another one seems better, because what is
//! learned is worth more than what it costs.

/// Requests that every worker is to be sent, however well another one does.
pub(super) const TRIALS: u32 = 3;
/// What trials may cost, as a share of the cost of all requests.
const COST_SHARE: f64 = 0.05;
/// What may be spent before it is earned, and kept unspent, in costs of a usual request.
const MOST_UNSPENT: f64 = 4.0;
/// How fast the usual cost follows.
const USUAL_GAIN: f64 = 0.05;

/// What trials may cost, in seconds of predicted cost. All requests together cost no more by trials than a share of what they cost,
/// and a few usual requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrialBudget {
    unspent: f64,
    /// Of a request that is no trial; 0 before the first.
    usual: f64,
}

impl TrialBudget {
    /// Whether a trial may cost `extra` more than the lowest cost.
    pub(super) fn allows(&self, extra: f64) -> bool {
        self.usual > 0.0 && extra <= self.unspent
    }

    /// A request of this cost was sent, to a worker that had got `sent` requests before.
    pub(super) fn sent(&mut self, cost: f64, sent: u32) {
        if self.usual == 0.0 {
            (self.usual, self.unspent) = (cost, MOST_UNSPENT * cost);
        }
        if sent < TRIALS {
            self.unspent = (self.unspent - (cost - self.usual).max(0.0)).max(0.0);
        } else {
            self.usual += USUAL_GAIN * (cost - self.usual);
        }
        self.unspent = (self.unspent + COST_SHARE * cost).min(MOST_UNSPENT * self.usual);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_cost_a_share_of_all() {
        let mut budget = TrialBudget::default();
        assert!(!budget.allows(0.0), "nothing is known yet");
        let (mut all, mut extra) = (0.0, 0.0);
        for request in 0..1000 {
            let trial = if request % 3 == 0 { 2.5 } else { 0.3 };
            if budget.allows(trial) {
                budget.sent(1.0 + trial, 0);
                (all, extra) = (all + 1.0 + trial, extra + trial);
            } else {
                budget.sent(1.0, TRIALS);
                all += 1.0;
            }
        }
        assert!(extra > 20.0 && extra <= COST_SHARE * all + MOST_UNSPENT, "{extra} of {all}");
    }

    #[test]
    fn unit_of_time_changes_nothing() {
        let allowed = |unit: f64| {
            let mut budget = TrialBudget::default();
            let steps = (0..50).map(|i| {
                budget.sent(unit * f64::from(1 + i % 5), u32::from(i % 7 != 0) * TRIALS);
                budget.allows(unit * 2.0)
            });
            steps.collect::<Vec<_>>()
        };
        assert_eq!(allowed(1.0), allowed(64.0));
    }
}
