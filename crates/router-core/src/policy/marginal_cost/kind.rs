//! Which workers are taken to be alike, and what they have in common.

use super::baseline::RequestSizes;
use super::learner::{SCALING_RESPONSES, SETTLED_RESPONSES, SpeedLearner, WorkerSpeed};
use crate::WorkerInfo;

/// The variance of the logarithm of one response's time: it takes some 20 % more or less than it should.
const NOISE_VARIANCE: f64 = 0.01;

/// The variance of a few workers' times that noise explains, as a multiple of its expected value: with four equal workers the
/// measured one is above in one case of ten (the 90 % quantile of chi squared with three degrees of freedom, divided by three).
const CHANCE: f64 = 2.08;

/// The share of its KV cache from which an engine may put requests back into its queue: how much they hold is an estimate.
const NEARLY_FULL: f64 = 0.8;

/// What tells workers of one kind from others, as far as they say it: workers with the same limits are taken to have the same
/// model and the same hardware until they show how fast they are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WorkerKind {
    max_running_requests: Option<u32>,
    max_total_tokens: Option<u64>,
}

impl WorkerKind {
    pub(super) const fn of(info: &WorkerInfo) -> Self {
        Self { max_running_requests: info.max_running_requests, max_total_tokens: info.max_total_tokens }
    }

    /// Whether a worker of this kind that has so many requests, which hold so many tokens, may have no place for all of them.
    pub(super) fn is_full(&self, requests: f64, held: f64) -> bool {
        self.max_running_requests.is_some_and(|most| requests > f64::from(most))
            || self.max_total_tokens.is_some_and(|most| held > NEARLY_FULL * most as f64)
    }
}

/// How long a usual request takes on the workers of one kind.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct KindTime {
    /// A usual request.
    usual: RequestSizes,
    /// The logarithm of the seconds that it takes alone, on average over the responses.
    log_secs: f64,
    /// How much the workers differ in it: its variance beyond what noise explains.
    variance: f64,
}

impl KindTime {
    /// The time on these workers; absent before their first response.
    pub(super) fn of<'a, I: Iterator<Item = &'a SpeedLearner>>(
        usual: RequestSizes,
        workers: impl Fn() -> I,
    ) -> Option<Self> {
        let known = || workers().filter(|worker| worker.responses() > 0);
        let (mut sum, mut responses, mut noise, mut count) = (0.0, 0.0, 0.0, 0.0);
        for worker in known() {
            let weight = f64::from(worker.responses().min(SETTLED_RESPONSES));
            sum += weight * log_secs(usual, &worker.speed());
            responses += weight;
            noise += NOISE_VARIANCE / weight;
            count += 1.0;
        }
        if count == 0.0 {
            return None;
        }
        let mean = sum / responses;
        let squares: f64 = known().map(|worker| (log_secs(usual, &worker.speed()) - mean).powi(2)).sum();
        let variance = (squares / f64::max(count - 1.0, 1.0) - CHANCE * noise / count).max(0.0);
        Some(Self { usual, log_secs: mean, variance })
    }

    /// The factor that draws the speed of a worker, known by so many responses, towards that of its kind, by as much as its own is
    /// noise, as far as the workers of its kind are alike: the noise of a few responses does not make one of equal workers seem
    /// faster (empirical Bayes; Efron and Morris, "Stein's estimation rule and its competitors", 1973).
    pub(super) fn pull(&self, speed: &WorkerSpeed, responses: u32) -> f64 {
        if responses == 0 || responses >= SCALING_RESPONSES {
            return 1.0;
        }
        let noise = NOISE_VARIANCE / f64::from(responses);
        let share = noise / (noise + self.variance);
        (share * (self.log_secs - log_secs(self.usual, speed))).exp()
    }
}

/// The logarithm of the seconds that a request takes alone.
fn log_secs(request: RequestSizes, speed: &WorkerSpeed) -> f64 {
    let RequestSizes { prompt, output } = request;
    let step = speed.step + speed.step_request + speed.step_token * (prompt + 0.5 * output);
    (speed.overhead + speed.prefill + speed.prefill_token * prompt + output * step).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::marginal_cost::learner::ResponseSample;

    const USUAL: RequestSizes = RequestSizes { prompt: 100.0, output: 60.0 };

    /// A worker of which three responses are known, which took `factor` times what an 8B model takes.
    fn known(factor: f64) -> SpeedLearner {
        let mut learner = SpeedLearner::new(0.98, None);
        for _ in 0..3 {
            let (uncached, output) = (100.0, 60.0);
            let took = factor * (0.02 + 0.007 * output);
            learner.learn(&ResponseSample {
                prefills: 1.0,
                uncached,
                output,
                requests: 1.0,
                resident: 130.0,
                took,
            });
        }
        learner
    }

    /// The speeds of workers, drawn towards that of their kind, relative to that of the first.
    fn drawn<const N: usize>(factors: [f64; N]) -> [f64; N] {
        let workers = factors.map(known);
        let time = KindTime::of(USUAL, || workers.iter()).unwrap();
        let steps = workers.each_ref().map(|w| w.speed().step * time.pull(&w.speed(), w.responses()));
        steps.map(|step| step / steps[0])
    }

    #[test]
    fn noise_does_not_make_one_of_equal_workers_faster() {
        for factors in [[1.0, 1.1, 0.95, 1.05], [1.0, 1.15, 0.98, 1.13]] {
            for ratio in drawn(factors) {
                assert!((0.97..1.03).contains(&ratio), "{factors:?} {ratio}");
            }
        }
    }

    #[test]
    fn workers_that_really_differ_stay_apart() {
        let [_, slow, slower] = drawn([1.0, 2.5, 5.0]);
        assert!(slow > 2.3 && slower > 4.5, "{slow} {slower}");
    }

    #[test]
    fn nothing_is_known_before_the_first_response() {
        assert_eq!(KindTime::of(USUAL, || [].iter()), None);
    }
}
