//! What the workers of a fleet tell about one another.

use super::baseline::RequestSizes;
use super::kind::{KindTime, WorkerKind};
use super::learner::{SCALING_RESPONSES, SETTLED_RESPONSES, SpeedLearner, WorkerSpeed};
use super::worker::WorkerModel;
use crate::ranking::COMPARE_ALL;
use crate::{SlotMap, Time};
use smallvec::SmallVec;
use std::ops::Range;

/// Responses between two surveys of the fleet, and workers that one looks at: of a large fleet a part, the next part the next time.
pub(super) const SURVEY_EVERY: u32 = 64;
const SURVEYED: usize = COMPARE_ALL;
/// If three quarters of the workers are at least this many times slower than their models, or faster, it is the fleet that changed.
const COMMON_CHANGE: f64 = 1.25;
/// And if the slowest of them is less than so many times slower than the fastest.
const ALIKE: f64 = 1.5;
/// And if none was full for this long.
const ROOM_SECS: f64 = 60.0;

/// What is known of the fleet as a whole.
#[derive(Debug, Default)]
pub(super) struct FleetSurvey {
    /// The median of the workers whose speed is known, and room to find it in.
    median: Option<WorkerSpeed>,
    speeds: Vec<WorkerSpeed>,
    slowdowns: Vec<f64>,
    /// The slot at which the next survey begins.
    next: usize,
}

impl FleetSurvey {
    /// The median of the workers whose speed is known.
    pub(super) const fn median(&self) -> Option<&WorkerSpeed> {
        self.median.as_ref()
    }

    /// Makes room for a fleet of so many workers.
    pub(super) fn reserve(&mut self, workers: usize) {
        self.speeds.reserve(workers.min(SURVEYED));
        self.slowdowns.reserve(workers.min(SURVEYED));
    }

    /// The workers that the next survey looks at.
    pub(super) fn slots(&self, workers: &SlotMap<WorkerModel>) -> Range<usize> {
        workers.slots_from(self.next, SURVEYED)
    }

    /// Finds the median worker, whether batches take anything, and what workers of one kind are like. `usual` is a usual request.
    pub(super) fn survey(&mut self, now: Time, workers: &mut SlotMap<WorkerModel>, usual: RequestSizes) {
        let slots = workers.next_slots(&mut self.next, SURVEYED);
        self.settle_common_change(now, workers, slots.clone());
        self.speeds.clear();
        let learners = || workers.range(slots.clone()).map(|(_, model)| model.learner());
        self.speeds.extend(learners().filter(|l| l.is_settled()).map(SpeedLearner::speed));
        self.median = WorkerSpeed::median(&mut self.speeds).or(self.median);
        let settled = self.speeds.len();
        if settled > 0 {
            let all: f64 = learners().filter(|l| l.is_settled()).map(SpeedLearner::batch_price).sum();
            let fleet = all / settled as f64;
            workers.range_mut(slots.clone()).for_each(|(_, model)| model.judge_batches(fleet));
        }
        compare_kinds(workers, slots, usual);
    }

    /// Moves a slowness that most workers have into the models. Else a worker that joins, which is taken for a usual one, would seem
    /// faster than all others. Where requests waited for room it is not known how slow the workers themselves were.
    fn settle_common_change(&mut self, now: Time, workers: &mut SlotMap<WorkerModel>, slots: Range<usize>) {
        self.slowdowns.clear();
        for (_, model) in workers.range(slots.clone()).filter(|(_, model)| model.learner().is_settled()) {
            if model.secs_since_full(now) < ROOM_SECS {
                return;
            }
            self.slowdowns.push(model.learner().slowdown());
        }
        let Some(factor) = common_change(&mut self.slowdowns) else { return };
        let models = workers.range_mut(slots).map(|(_, model)| model);
        models.filter(|model| model.learner().is_settled()).for_each(|model| model.settle_at(factor));
    }

    /// After one of the first responses of a worker: what it is like tells what others of its kind are like.
    pub(super) fn first_lesson(&self, workers: &mut SlotMap<WorkerModel>, usual: RequestSizes) {
        let slots = self.slots(workers);
        compare_kinds(workers, slots, usual);
    }
}

/// How many times slower than their models, or faster, three quarters of the workers are, if that is notable and about the same for
/// them. Reorders the slice.
fn common_change(slowdowns: &mut [f64]) -> Option<f64> {
    slowdowns.sort_unstable_by(f64::total_cmp);
    let others = slowdowns.len().saturating_sub(1) / 4;
    let (least, most) = (*slowdowns.get(others)?, *slowdowns.get(slowdowns.len() - 1 - others)?);
    let factor = if least > COMMON_CHANGE {
        least
    } else if most < 1.0 / COMMON_CHANGE {
        most
    } else {
        return None;
    };
    (most / least < ALIKE).then_some(factor)
}

/// Tells the workers of which little is known how fast those of their kind are. In a large fleet that is only those that have not
/// responded yet: there a burst meets many workers, and what one of them is taken for matters little.
fn compare_kinds(workers: &mut SlotMap<WorkerModel>, slots: Range<usize>, usual: RequestSizes) {
    let is_small = workers.slots() <= SURVEYED;
    // One that is at work will say itself what it is like, soon.
    let is_untried = |model: &WorkerModel| model.responses() == 0 && model.sums().requests == 0.0;
    let is_new = |model: &WorkerModel| {
        if is_small { model.responses() < SCALING_RESPONSES } else { is_untried(model) }
    };
    let mut kinds = SmallVec::<[WorkerKind; 4]>::new();
    for (_, model) in workers.range(slots.clone()).filter(|(_, model)| is_new(model)) {
        if !kinds.contains(&model.kind()) {
            kinds.push(model.kind());
        }
    }
    for kind in kinds {
        let is_like = |model: &WorkerModel| model.kind() == kind;
        let alike = || workers.range(slots.clone()).map(|(_, model)| model).filter(|model| is_like(model));
        let learners = || alike().map(WorkerModel::learner);
        let best = if alike().any(is_untried) { best_known(learners) } else { None };
        let time = if is_small { KindTime::of(usual, learners) } else { None };
        for (_, model) in workers.range_mut(slots.clone()).filter(|(_, model)| is_like(model)) {
            if let Some(best) = best.as_ref().filter(|_| is_untried(model)) {
                model.expect_like(best);
            }
            if is_small && is_new(model) {
                model.set_kind_time(time);
            }
        }
    }
}

/// Of the workers of which most is known the model of the one whose decode step is nearest to the mean; none if none has responded.
fn best_known<'a, I: Iterator<Item = &'a SpeedLearner>>(workers: impl Fn() -> I) -> Option<SpeedLearner> {
    let most = workers().map(SpeedLearner::responses).max().filter(|most| *most > 0)?;
    let enough = (most / 2).clamp(1, SETTLED_RESPONSES);
    let known = || workers().filter(|worker| worker.responses() >= enough);
    let log_step = |worker: &SpeedLearner| worker.speed().step.ln();
    let mean = known().map(log_step).sum::<f64>() / known().count() as f64;
    let distance = |worker: &SpeedLearner| (log_step(worker) - mean).abs();
    known().min_by(|a, b| distance(a).total_cmp(&distance(b))).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_most_workers_share_is_common() {
        assert_eq!(common_change(&mut []), None);
        assert_eq!(common_change(&mut [4.0, 1.0]), None, "one of two");
        assert_eq!(common_change(&mut [4.0, 3.0]), Some(3.0));
        assert_eq!(common_change(&mut [4.0, 1.5]), None, "each for its own reason");
        assert_eq!(common_change(&mut [1.0, 4.0, 4.0]), None);
        assert_eq!(common_change(&mut [3.0, 1.0, 4.0, 4.0, 9.0]), Some(3.0), "one at each end may differ");
        assert_eq!(common_change(&mut [0.25, 0.35, 0.3]), Some(0.35));
        assert_eq!(common_change(&mut [1.1, 1.2, 1.2]), None);
    }
}
