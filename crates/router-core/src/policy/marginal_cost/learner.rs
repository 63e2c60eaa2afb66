//! How fast one worker is, learned from its responses alone.
//!
//! The model: a response takes `c0`, a prefill batch of `u` uncached tokens takes `p0 + p1 u`, a decode step of `n`
//! requests that hold `C` tokens takes `a + b n + k C`. These six are fitted to the responses' whole times by
//! exponentially forgetting least squares of the relative error, drawn towards a prior and kept in bounds.
//!
//! Not recursive least squares and no Kalman filter: when prompts are alike the columns are nearly collinear, and
//! those diverge. Here the ridge holds what the data does not determine, and the bounds are part of the solution.

use super::coefficients::{Coefficients, N};
use crate::least_squares::{LeastSquares, Regularization};

/// Indices of constants: a prompt that is computed alone, a prefill batch, a decode step.
const ALONE: usize = 0;
const BATCH: usize = 1;
const STEP: usize = 3;
/// Unit of each constant in seconds: about its value for an 8B model on one large GPU.
const UNIT_SECS: Coefficients = [5e-3, 5e-3, 20e-6, 7e-3, 30e-6, 0.05e-6];
/// No constant leaves these bounds, in units; the lower ones keep prefill and decode from being free.
const BOUNDS: [(f64, f64); N] =
    [(0.0, 400.0), (0.0, 50.0), (0.02, 50.0), (0.02, 20.0), (0.0, 50.0), (0.0, 50.0)];
/// Weight of the prior, in responses whose whole time would be one constant's.
const RIDGE: f64 = 0.03;
/// The prior for a worker of which nothing is known, in units.
const PRIOR_COEFFICIENTS: Coefficients = [2.0, 1.0, 1.0, 1.0, 1.0, 1.0];
/// Decay of the long fit, from which the price of a prefill batch is estimated, and the weight of its prior.
const LONG_MEMORY: f64 = 0.998;
const LONG_RIDGE: f64 = 5e-4;
/// Responses before the first such estimate, and between two.
const BATCH_PRICE_MIN_RESPONSES: u32 = 96;
const BATCH_PRICE_EVERY: u32 = 16;
/// Above this mean relative error the price of a prefill batch is too small to be estimated.
const BATCH_PRICE_MAX_ERROR: f64 = 0.05;
/// A prefill batch counts as free up to the first number of decode steps, and as priced again above the second.
const FREE_BATCH_STEPS: (f64, f64) = (0.4, 0.5);
/// Responses in which the prior's overall scale is still free.
pub(super) const SCALING_RESPONSES: u32 = 8;
/// Responses after which a temporary slowdown is separated from the speed.
pub(super) const SETTLED_RESPONSES: u32 = 20;
/// How fast health follows the responses, and how much of it moves into the model with each.
const SLOWDOWN_GAIN: f64 = 0.1;
const SLOWDOWN_HANDOVER: f64 = 0.05;
/// No response counts as more than this many times slower or faster than expected, and no worker as more than its model: one that
/// seems slower would not be tried again for long after it has recovered.
const MAX_RATIO: f64 = 5.0;
/// A first token this many times slower or faster than expected changes the slowdown.
const NOTABLE_RATIO: f64 = 2.0;
/// Bound on how many times slower or faster than its prior a worker can be.
const MAX_SCALE_RATIO: f64 = 1000.0;
/// Weight of a first token, or of a report of the worker, relative to a response.
const PARTIAL_WEIGHT: f64 = 0.2;
/// Decode steps that a report must cover to count.
const REPORTED_STEPS: f64 = 20.0;
/// An error below this share is never an outlier.
const ERROR_FLOOR: f64 = 0.05;

/// The constants of the model, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct WorkerSpeed {
    /// c0: once per request.
    pub(super) overhead: f64,
    /// p0: per prefill batch.
    pub(super) prefill: f64,
    /// p1: per uncached prompt token.
    pub(super) prefill_token: f64,
    /// a: per decode step.
    pub(super) step: f64,
    /// b: per decode step and request in it.
    pub(super) step_request: f64,
    /// k: per decode step and token held.
    pub(super) step_token: f64,
}

impl WorkerSpeed {
    fn of([overhead, prefill, prefill_token, step, step_request, step_token]: Coefficients) -> Self {
        Self { overhead, prefill, prefill_token, step, step_request, step_token }
    }

    fn constants(&self) -> Coefficients {
        [self.overhead, self.prefill, self.prefill_token, self.step, self.step_request, self.step_token]
    }

    /// These constants for a worker `factor` times as slow.
    pub(super) fn times(&self, factor: f64) -> Self {
        Self::of(self.constants().map(|c| c * factor))
    }

    /// The median of each constant; absent for an empty slice. Reorders the slice.
    pub(super) fn median(speeds: &mut [Self]) -> Option<Self> {
        let middle = speeds.len() / 2;
        let mut constants = [0.0; N];
        for (i, c) in constants.iter_mut().enumerate() {
            speeds.sort_unstable_by(|a, b| a.constants()[i].total_cmp(&b.constants()[i]));
            *c = speeds.get(middle)?.constants()[i];
        }
        Some(Self::of(constants))
    }
}

/// One response and the load that it met.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct ResponseSample {
    /// Prefill batches that were begun on the worker meanwhile, its own included.
    pub(super) prefills: f64,
    /// Uncached prompt tokens sent to the worker meanwhile, its own included.
    pub(super) uncached: f64,
    /// Tokens it generated.
    pub(super) output: f64,
    /// Mean number of requests on the worker meanwhile.
    pub(super) requests: f64,
    /// Mean number of tokens held there meanwhile.
    pub(super) resident: f64,
    /// How long it took, in seconds.
    pub(super) took: f64,
}

impl ResponseSample {
    fn row(&self) -> Coefficients {
        let o = self.output;
        [1.0, self.prefills - 1.0, self.uncached, o, o * self.requests, o * self.resident]
    }
}

/// The speed model of one worker.
#[derive(Clone, Debug)]
pub(super) struct SpeedLearner {
    memory: f64,
    /// Seconds per unit, relative to [`UNIT_SECS`].
    scale: f64,
    prior: Coefficients,
    /// Fits over recent responses, and over very many.
    recent: LeastSquares<N>,
    lasting: LeastSquares<N>,
    /// The constants in units; the first is that of a prompt computed alone, its own batch included.
    solution: Coefficients,
    /// Price of a prefill batch by many responses, in decode steps.
    batch_price: f64,
    /// Whether it takes nothing, as in an engine that decodes on meanwhile, so that nothing is gained by sharing one.
    is_free: bool,
    responses: u32,
    slowdown: f64,
    error: f64,
}

impl SpeedLearner {
    /// A model that expects the worker to be like `prior`, or like a usual one.
    pub(super) fn new(memory: f64, prior: Option<WorkerSpeed>) -> Self {
        let units = prior.map_or(PRIOR_COEFFICIENTS, |speed| in_units(&speed, 1.0));
        Self {
            memory,
            scale: 1.0,
            prior: units,
            recent: LeastSquares::default(),
            lasting: LeastSquares::default(),
            solution: units,
            batch_price: 1.0,
            is_free: false,
            responses: 0,
            slowdown: 1.0,
            error: 0.0,
        }
    }

    /// Expects the worker to be like another one, if nothing was learned from itself so far.
    pub(super) fn expect_like(&mut self, other: &Self) {
        if self.responses == 0 {
            self.scale = other.scale;
            self.prior = in_units(&other.speed(), self.scale);
            self.solution = self.prior;
        }
    }

    /// Number of responses learned from.
    pub(super) const fn responses(&self) -> u32 {
        self.responses
    }

    /// Whether it has seen enough to be a prior for others.
    pub(super) const fn is_settled(&self) -> bool {
        self.responses >= SETTLED_RESPONSES
    }

    /// How many times slower than its own model the worker is at present.
    pub(super) const fn slowdown(&self) -> f64 {
        self.slowdown
    }

    /// Mean relative error of the predictions for responses of known length.
    pub(super) const fn error(&self) -> f64 {
        self.error
    }

    /// What a prefill batch takes, in decode steps.
    pub(super) const fn batch_price(&self) -> f64 {
        self.batch_price
    }

    /// Decides whether a prefill batch takes anything, by this worker's responses and those of a fleet in which it takes
    /// `fleet` decode steps on average: one worker alone has too little data.
    pub(super) fn judge_batches(&mut self, fleet: f64) {
        let price = 0.5 * (self.batch_price + fleet);
        let is_free = price <= if self.is_free { FREE_BATCH_STEPS.1 } else { FREE_BATCH_STEPS.0 };
        if is_free != self.is_free {
            self.is_free = is_free;
            self.solve();
        }
    }

    /// The constants, without health.
    pub(super) fn speed(&self) -> WorkerSpeed {
        let mut constants: Coefficients =
            std::array::from_fn(|i| self.solution[i] * UNIT_SECS[i] * self.scale);
        constants[ALONE] = (constants[ALONE] - constants[BATCH]).max(0.0);
        WorkerSpeed::of(constants)
    }

    /// Learns from one response.
    pub(super) fn learn(&mut self, sample: &ResponseSample) {
        let row = sample.row();
        if !(sample.took.is_finite() && sample.took > 0.0 && row.iter().all(|x| x.is_finite())) {
            return;
        }
        let expected = self.expected(row);
        if expected <= 0.0 {
            return;
        }
        let ratio = (sample.took / expected).clamp(1.0 / MAX_RATIO, MAX_RATIO);
        let miss = (1.0 - expected * self.slowdown / sample.took).abs();
        let outlier = 4.0 * self.error.max(ERROR_FLOOR);
        let weight = if self.responses >= SETTLED_RESPONSES && miss > outlier { outlier / miss } else { 1.0 };
        if self.responses < SCALING_RESPONSES {
            let unlike = (sample.took / expected).clamp(1.0 / MAX_SCALE_RATIO, MAX_SCALE_RATIO);
            self.rescale(unlike.powf(1.0 / f64::from(self.responses + 1)));
        }
        if self.responses >= SETTLED_RESPONSES {
            self.slowdown *= (ratio / self.slowdown).powf(SLOWDOWN_GAIN);
        }
        let relative = self.relative(row, sample.took / self.passing());
        self.recent.fade(self.memory);
        self.recent.add(&relative, weight);
        self.lasting.fade(LONG_MEMORY);
        self.lasting.add(&relative, weight);
        self.estimate_batch_price();
        self.solve();
        let gain = (1.0 / f64::from(self.responses + 1)).max(0.1);
        self.error += gain * (miss.min(MAX_RATIO) - self.error);
        self.responses = self.responses.saturating_add(1);
    }

    /// Seconds that a response takes by the model, without slowdown.
    pub(super) fn expected_time(&self, sample: &ResponseSample) -> f64 {
        self.expected(sample.row())
    }

    /// Seconds that the output of a part of a stream takes by the model, without slowdown, prompts of others in between included.
    pub(super) fn expected_pace(&self, sample: &ResponseSample) -> f64 {
        let [_, _, uncached, steps @ ..] = sample.row();
        self.expected([0.0, sample.prefills, uncached, steps[0], steps[1], steps[2]])
    }

    /// The worker has become `factor` times as slow.
    pub(super) fn changed(&mut self, factor: f64) {
        self.slowdown = (self.slowdown * factor).clamp(1.0 / MAX_RATIO, MAX_RATIO);
    }

    /// So much of the present slowness belongs to the model from now on, as if all responses had shown it.
    pub(super) fn settle_at(&mut self, factor: f64) {
        self.scale *= factor;
        self.changed(1.0 / factor);
    }

    /// Learns from the first token of a stream whose prompt of so many uncached tokens was computed alone, beside
    /// running requests and the tokens they held.
    pub(super) fn started(&mut self, uncached: f64, requests: f64, resident: f64, secs: f64) {
        // On average half a decode step was still to run when the prompt arrived.
        let half = if requests > 0.0 { 0.5 } else { 0.0 };
        let row = [1.0, 0.0, uncached, half, half * requests, half * resident];
        // It comes long before the response ends, so it shows first that the worker has become slow.
        let unlike = (secs / self.expected(row)).clamp(1.0 / MAX_RATIO, MAX_RATIO) / self.slowdown;
        if self.responses >= SETTLED_RESPONSES && !(1.0 / NOTABLE_RATIO..=NOTABLE_RATIO).contains(&unlike) {
            self.slowdown *= unlike.powf(SLOWDOWN_GAIN);
        }
        self.learn_part(row, secs);
    }

    /// Learns from what the worker reports of its decode steps since its last report, in the order of
    /// [`WorkTotals::decode`](crate::WorkTotals::decode); a request held `held` tokens.
    pub(super) fn decoded(&mut self, [steps, n, busy_us, nn, n_busy_us, _]: [f64; 6], held: f64) {
        if steps >= REPORTED_STEPS {
            // Once as it is and once weighted with the batch size, so that the two terms can be separated.
            self.learn_part([0.0, 0.0, 0.0, steps, n, n * held], busy_us * 1e-6);
            self.learn_part([0.0, 0.0, 0.0, n, nn, nn * held], n_busy_us * 1e-6);
        }
    }

    /// Learns from what the worker reports of its prefill since its last report.
    pub(super) fn prefilled(&mut self, batches: f64, uncached: f64, secs: f64) {
        self.learn_part([0.0, batches, uncached, 0.0, 0.0, 0.0], secs);
    }

    /// Learns from a part of what a worker does. It says nothing about the worker as a whole, so the overall scale must
    /// be known before.
    fn learn_part(&mut self, row: Coefficients, secs: f64) {
        let is_sound = |x: &f64| x.is_finite() && *x >= 0.0;
        if self.responses < SCALING_RESPONSES
            || !(secs.is_finite() && secs > 0.0)
            || !row.iter().all(is_sound)
        {
            return;
        }
        let expected = self.expected(row);
        // A large error means that something else was measured: a queue, another router's prompt.
        if (1.0 / MAX_RATIO..=MAX_RATIO).contains(&(expected * self.slowdown / secs)) {
            let relative = self.relative(row, secs / self.passing());
            self.recent.add(&relative, PARTIAL_WEIGHT);
            self.solve();
        }
    }

    /// Keeps `share` of what was learned, and fills the rest with what is `usual`, if that is known; the present slowness
    /// is taken to be `health`.
    pub(super) fn decay_to(&mut self, share: f64, slowdown: f64, usual: Option<&WorkerSpeed>) {
        self.slowdown = slowdown;
        let Some(usual) = usual else { return };
        let usual = in_units(usual, self.scale);
        for (prior, usual) in self.prior.iter_mut().zip(usual) {
            *prior = share * *prior + (1.0 - share) * usual;
        }
        self.recent.fade(share);
        self.lasting.fade(share);
        self.solve();
    }

    /// Seconds that the row takes by the model, without health.
    fn expected(&self, row: Coefficients) -> f64 {
        (0..N).map(|i| row[i] * self.solution[i] * UNIT_SECS[i] * self.scale).sum()
    }

    /// The part of the present slowness that is not the model's.
    fn passing(&self) -> f64 {
        self.slowdown.powf(1.0 - SLOWDOWN_HANDOVER)
    }

    /// Multiplies every constant by `factor` and converts what was learned so far.
    fn rescale(&mut self, factor: f64) {
        self.scale *= factor;
        self.recent.rescale(factor);
        self.lasting.rescale(factor);
    }

    /// The row as the fits take it: divided by the time it took, the target is 1 and the squared error that of the
    /// relative error.
    fn relative(&self, row: Coefficients, took: f64) -> Coefficients {
        std::array::from_fn(|i| row[i] * UNIT_SECS[i] * self.scale / took)
    }

    fn solve(&mut self) {
        let mut bounds = BOUNDS;
        if self.is_free {
            bounds[BATCH] = (0.0, 0.0);
        }
        self.solution =
            self.recent.solve(Regularization { ridge: RIDGE, prior: &self.prior, bounds: &bounds });
    }

    /// Estimates the price of a prefill batch from many responses: it is a small part of each and nearly collinear with
    /// the others.
    fn estimate_batch_price(&mut self) {
        let is_due =
            self.responses >= BATCH_PRICE_MIN_RESPONSES && self.responses.is_multiple_of(BATCH_PRICE_EVERY);
        if is_due && self.error < BATCH_PRICE_MAX_ERROR {
            let hold = Regularization { ridge: LONG_RIDGE, prior: &self.prior, bounds: &BOUNDS };
            let found = self.lasting.solve(hold);
            self.batch_price = found[BATCH] * UNIT_SECS[BATCH] / (found[STEP] * UNIT_SECS[STEP]);
        }
    }
}

/// The constants in units of `scale`, within bounds.
fn in_units(speed: &WorkerSpeed, scale: f64) -> Coefficients {
    let mut constants = speed.constants();
    constants[ALONE] += constants[BATCH];
    std::array::from_fn(|i| (constants[i] / (UNIT_SECS[i] * scale)).clamp(BOUNDS[i].0, BOUNDS[i].1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// SGLang with an 8B model on one GPU, as fitted in router-engine.
    const TRUE: Coefficients = [5.3e-3, 6e-3, 1.66e-5, 6.77e-3, 1.5e-5, 3.7e-8];

    fn sample(rng: &mut Rng, slow: f64) -> ResponseSample {
        let prefills = 1.0 + rng.below(30) as f64;
        let requests = 1.0 + rng.below(40) as f64;
        let mut sample = ResponseSample {
            prefills,
            // Prompts are all alike, so that tokens and batches are collinear.
            uncached: 300.0 * prefills,
            output: 20.0 + rng.below(400) as f64,
            requests,
            resident: 420.0 * requests,
            took: 0.0,
        };
        sample.took = slow * sample.row().iter().zip(TRUE).map(|(x, c)| x * c).sum::<f64>();
        sample
    }

    fn error(learner: &SpeedLearner, rng: &mut Rng, slow: f64) -> f64 {
        let mut worst = 0.0_f64;
        for _ in 0..200 {
            let s = sample(rng, slow);
            let constants = learner.speed().constants();
            let expected: f64 = s.row().iter().zip(constants).map(|(x, c)| x * c * learner.slowdown()).sum();
            worst = worst.max((expected / s.took - 1.0).abs());
        }
        worst
    }

    #[test]
    fn fifty_responses_suffice_for_any_worker() {
        for slow in [0.2, 1.0, 5.0, 40.0] {
            let mut rng = Rng::seeded(3);
            let mut learner = SpeedLearner::new(0.98, None);
            for _ in 0..50 {
                learner.learn(&sample(&mut rng, slow));
            }
            let worst = error(&learner, &mut rng, slow);
            assert!(worst < 0.05, "{slow}: {worst}");
        }
    }

    #[test]
    fn free_batches_are_recognised() {
        for (p0, is_free) in [(TRUE[1], false), (0.0, true)] {
            let mut rng = Rng::seeded(4);
            let mut learner = SpeedLearner::new(0.98, None);
            for _ in 0..400 {
                let mut s = sample(&mut rng, 1.0);
                // Batches of all sizes, and times that are only nearly those of the model.
                s.uncached += 300.0 * rng.below(20) as f64;
                let true_to = |(i, x): (usize, f64)| x * if i == BATCH { p0 } else { TRUE[i] };
                s.took = s.row().into_iter().enumerate().map(true_to).sum::<f64>();
                s.took *= 0.99 + 0.02 * rng.below(100) as f64 / 100.0;
                learner.learn(&s);
            }
            learner.judge_batches(learner.batch_price());
            assert_eq!(learner.speed().prefill == 0.0, is_free, "{}", learner.batch_price());
        }
    }

    #[test]
    fn outliers_barely_change_the_model() {
        let mut rng = Rng::seeded(5);
        let mut learner = SpeedLearner::new(0.98, None);
        for i in 0..400 {
            let mut s = sample(&mut rng, 1.0);
            s.took *= if i % 10 == 9 { 10.0 } else { 1.0 };
            learner.learn(&s);
        }
        let mut mean = 0.0;
        for _ in 0..100 {
            learner.learn(&sample(&mut rng, 1.0));
            mean += error(&learner, &mut rng, 1.0) / 100.0;
        }
        assert!(mean < 0.10, "{mean}");
    }

    #[test]
    fn invalid_samples_stay_finite_and_bounded() {
        let mut rng = Rng::seeded(9);
        let mut learner = SpeedLearner::new(0.98, None);
        for _ in 0..3000 {
            let mut s = sample(&mut rng, 1.0);
            s.took = [0.0, f64::NAN, 1e-9, 1e9, f64::INFINITY, 0.3][rng.below(6)];
            s.output = [0.0, 1.0, 1e6, f64::NAN][rng.below(4)];
            learner.learn(&s);
            for (i, z) in learner.solution.into_iter().enumerate() {
                assert!(z.is_finite() && (BOUNDS[i].0..=BOUNDS[i].1).contains(&z), "{i}: {z}");
            }
            assert!(learner.slowdown().is_finite() && learner.scale.is_finite() && learner.scale > 0.0);
        }
    }

    #[test]
    fn a_passing_slowness_is_noticed_and_forgotten() {
        let mut rng = Rng::seeded(2);
        let mut learner = SpeedLearner::new(0.98, None);
        let mut run = |n, slow| {
            (0..n).for_each(|_| learner.learn(&sample(&mut rng, slow)));
            learner.speed().step * learner.slowdown() / TRUE[3]
        };
        run(100, 1.0);
        assert!(run(30, 4.0) > 3.0);
        assert!(run(30, 1.0) < 1.4);
    }
}
