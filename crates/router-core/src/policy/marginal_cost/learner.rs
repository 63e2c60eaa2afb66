//! How fast one worker is, learned from its answers alone.
//!
//! The model: an answer takes `c0`, a prefill batch of `u` uncached tokens takes `p0 + p1 u`, a decode step of `n`
//! requests that hold `C` tokens takes `a + b n + k C`. These six are fitted to the answers' whole times by
//! exponentially forgetting least squares of the relative error, drawn towards a prior and kept in bounds.
//!
//! Not recursive least squares and no Kalman filter: when prompts are alike the columns are nearly collinear, and
//! those diverge. Here the ridge holds what the data does not tell, and the bounds are part of the solution.

/// How many constants the model has.
const N: usize = 6;
/// What one unit of each constant is, in seconds: about those of an 8B model on one large GPU.
const UNITS: [f64; N] = [5e-3, 5e-3, 20e-6, 7e-3, 30e-6, 0.05e-6];
/// No constant leaves these bounds, in units; the lower ones keep prefill and decode from being free.
const BOUNDS: [(f64, f64); N] =
    [(0.0, 400.0), (0.0, 50.0), (0.02, 50.0), (0.02, 20.0), (0.0, 50.0), (0.0, 50.0)];
/// Weight of the prior, in answers whose whole time would be one constant's.
const RIDGE: f64 = 0.05;
/// Sweeps of coordinate descent per answer; it starts where it ended the last time.
const SWEEPS: usize = 4;
/// Answers in which the prior's overall scale is still free.
const SCALING: u32 = 8;
/// Answers after which passing slowness is told from speed.
const SETTLED: u32 = 20;
/// How fast health follows the answers, and how much of it the model takes over with each.
const HEALTH_GAIN: f64 = 0.1;
const HEALTH_HANDOVER: f64 = 0.05;
/// No answer counts as more than so many times slower or faster than expected.
const WORST: f64 = 5.0;
/// A first token that is so many times slower or faster than expected says something of the worker at present.
const STRIKING: f64 = 2.0;
/// No worker is so many times slower or faster than its prior.
const UNLIKE: f64 = 1000.0;
/// What a first token, or a report of the worker, counts beside an answer.
const PART: f64 = 0.2;
/// Decode steps that a report must cover to count.
const REPORTED_STEPS: f64 = 20.0;
/// An error below this share is never an outlier.
const ERROR_FLOOR: f64 = 0.05;

/// The constants of the model, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Speed {
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

impl Speed {
    fn of([overhead, prefill, prefill_token, step, step_request, step_token]: [f64; N]) -> Self {
        Self { overhead, prefill, prefill_token, step, step_request, step_token }
    }

    fn constants(&self) -> [f64; N] {
        [self.overhead, self.prefill, self.prefill_token, self.step, self.step_request, self.step_token]
    }

    /// The same worker, `factor` times as slow.
    pub(super) fn times(&self, factor: f64) -> Self {
        Self::of(self.constants().map(|c| c * factor))
    }

    /// Constant by constant the median; absent without any. It changes their order and nothing else.
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

/// What one answer went through.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sample {
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

impl Sample {
    fn row(&self) -> [f64; N] {
        let o = self.output;
        [1.0, self.prefills, self.uncached, o, o * self.requests, o * self.resident]
    }
}

/// The speed model of one worker.
#[derive(Clone, Debug)]
pub(super) struct Learner {
    memory: f64,
    /// Seconds per unit, relative to [`UNITS`].
    scale: f64,
    prior: [f64; N],
    normal: [[f64; N]; N],
    right: [f64; N],
    solution: [f64; N],
    answers: u32,
    health: f64,
    error: f64,
}

impl Learner {
    /// A model that expects the worker to be like `prior`, or like a usual one.
    pub(super) fn new(memory: f64, prior: Option<Speed>) -> Self {
        let units = prior.map_or([1.0; N], |speed| in_units(&speed, 1.0));
        Self {
            memory,
            scale: 1.0,
            prior: units,
            normal: [[0.0; N]; N],
            right: [0.0; N],
            solution: units,
            answers: 0,
            health: 1.0,
            error: 0.0,
        }
    }

    /// Answers learned from.
    pub(super) const fn answers(&self) -> u32 {
        self.answers
    }

    /// Whether it has seen enough to be a prior for others.
    pub(super) const fn is_settled(&self) -> bool {
        self.answers >= SETTLED
    }

    /// How many times slower than its own model the worker is at present.
    pub(super) const fn health(&self) -> f64 {
        self.health
    }

    /// Mean relative error of the predictions for answers of known length.
    pub(super) const fn error(&self) -> f64 {
        self.error
    }

    /// The constants, without health.
    pub(super) fn speed(&self) -> Speed {
        Speed::of(std::array::from_fn(|i| self.solution[i] * UNITS[i] * self.scale))
    }

    /// Learns from one answer.
    pub(super) fn learn(&mut self, sample: &Sample) {
        let row = sample.row();
        if !(sample.took.is_finite() && sample.took > 0.0 && row.iter().all(|x| x.is_finite())) {
            return;
        }
        let expected = self.expected(row);
        if expected <= 0.0 {
            return;
        }
        let ratio = (sample.took / expected).clamp(1.0 / WORST, WORST);
        let miss = (1.0 - expected * self.health / sample.took).abs();
        let outlier = 4.0 * self.error.max(ERROR_FLOOR);
        let weight = if self.answers >= SETTLED && miss > outlier { outlier / miss } else { 1.0 };
        if self.answers < SCALING {
            let unlike = (sample.took / expected).clamp(1.0 / UNLIKE, UNLIKE);
            self.rescale(unlike.powf(1.0 / f64::from(self.answers + 1)));
        }
        if self.answers >= SETTLED {
            self.health *= (ratio / self.health).powf(HEALTH_GAIN);
        }
        self.normal.as_flattened_mut().iter_mut().chain(&mut self.right).for_each(|x| *x *= self.memory);
        self.add(row, sample.took / self.passing(), weight);
        self.solve();
        let gain = (1.0 / f64::from(self.answers + 1)).max(0.1);
        self.error += gain * (miss.min(WORST) - self.error);
        self.answers = self.answers.saturating_add(1);
    }

    /// Learns from the first token of a stream whose prompt of so many uncached tokens was computed alone, beside
    /// running requests and the tokens they held.
    pub(super) fn started(&mut self, uncached: f64, (requests, resident): (f64, f64), secs: f64) {
        // On average half a decode step was still to run when it came.
        let half = if requests > 0.0 { 0.5 } else { 0.0 };
        let row = [1.0, 1.0, uncached, half, half * requests, half * resident];
        // It comes long before the answer ends, so it is the first to tell that the worker has become slow.
        let unlike = (secs / self.expected(row)).clamp(1.0 / WORST, WORST) / self.health;
        if self.answers >= SETTLED && !(1.0 / STRIKING..=STRIKING).contains(&unlike) {
            self.health *= unlike.powf(HEALTH_GAIN);
        }
        self.learn_part(row, secs);
    }

    /// Learns from what the worker tells of its decode steps since its last report, in the order of
    /// [`Work::decode`](crate::Work::decode); a request held `held` tokens.
    pub(super) fn decoded(&mut self, [steps, n, busy_us, nn, n_busy_us, _]: [f64; 6], held: f64) {
        if steps >= REPORTED_STEPS {
            // Once as it is and once weighted with the batch size, so that the two terms can be told apart.
            self.learn_part([0.0, 0.0, 0.0, steps, n, n * held], busy_us * 1e-6);
            self.learn_part([0.0, 0.0, 0.0, n, nn, nn * held], n_busy_us * 1e-6);
        }
    }

    /// Learns from what the worker tells of its prefill since its last report.
    pub(super) fn prefilled(&mut self, batches: f64, uncached: f64, secs: f64) {
        self.learn_part([0.0, batches, uncached, 0.0, 0.0, 0.0], secs);
    }

    /// Learns from a part of what a worker does. It says nothing about the worker as a whole, so the overall scale must
    /// be known before.
    fn learn_part(&mut self, row: [f64; N], secs: f64) {
        let is_sound = |x: &f64| x.is_finite() && *x >= 0.0;
        if self.answers < SCALING || !(secs.is_finite() && secs > 0.0) || !row.iter().all(is_sound) {
            return;
        }
        let expected = self.expected(row);
        // What is far off was measured of something else: a queue, another router's prompt.
        if (1.0 / WORST..=WORST).contains(&(expected * self.health / secs)) {
            self.add(row, secs / self.passing(), PART);
            self.solve();
        }
    }

    /// Keeps `share` of what was learned, and fills the rest with what is `usual`, if that is known; the present slowness
    /// is taken to be `health`.
    pub(super) fn relax(&mut self, share: f64, (health, usual): (f64, Option<&Speed>)) {
        self.health = health;
        let Some(usual) = usual else { return };
        let usual = in_units(usual, self.scale);
        for (prior, usual) in self.prior.iter_mut().zip(usual) {
            *prior = share * *prior + (1.0 - share) * usual;
        }
        self.normal.as_flattened_mut().iter_mut().chain(&mut self.right).for_each(|x| *x *= share);
        self.solve();
    }

    /// Seconds that the row takes by the model, without health.
    fn expected(&self, row: [f64; N]) -> f64 {
        row.iter().zip(self.speed().constants()).map(|(x, c)| x * c).sum()
    }

    /// The part of the present slowness that is not the model's.
    fn passing(&self) -> f64 {
        self.health.powf(1.0 - HEALTH_HANDOVER)
    }

    /// Makes every constant `factor` times as large, and what was learned so far fit to that.
    fn rescale(&mut self, factor: f64) {
        self.scale *= factor;
        self.normal.as_flattened_mut().iter_mut().for_each(|a| *a *= factor * factor);
        self.right.iter_mut().for_each(|b| *b *= factor);
    }

    fn add(&mut self, row: [f64; N], took: f64, weight: f64) {
        // Divided by the time it took, the target is 1 and the squared error that of the relative error.
        let per_second = self.scale / took;
        let x: [f64; N] = std::array::from_fn(|i| row[i] * UNITS[i] * per_second);
        for i in 0..N {
            for j in 0..N {
                self.normal[i][j] += weight * x[i] * x[j];
            }
            self.right[i] += weight * x[i];
        }
    }

    fn solve(&mut self) {
        let inverse: [f64; N] = std::array::from_fn(|i| 1.0 / (self.normal[i][i] + RIDGE));
        for _ in 0..SWEEPS {
            for (i, (low, high)) in BOUNDS.into_iter().enumerate() {
                let all: f64 = self.normal[i].iter().zip(&self.solution).map(|(a, z)| a * z).sum();
                let others = all - self.normal[i][i] * self.solution[i];
                let rest = self.right[i] + RIDGE * self.prior[i] - others;
                self.solution[i] = (rest * inverse[i]).clamp(low, high);
            }
        }
    }
}

/// The constants in units of `scale`, within bounds.
fn in_units(speed: &Speed, scale: f64) -> [f64; N] {
    let constants = speed.constants();
    std::array::from_fn(|i| (constants[i] / (UNITS[i] * scale)).clamp(BOUNDS[i].0, BOUNDS[i].1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// SGLang with an 8B model on one GPU, as fitted in router-engine.
    const TRUE: [f64; N] = [5.3e-3, 6e-3, 1.66e-5, 6.77e-3, 1.5e-5, 3.7e-8];

    fn sample(rng: &mut Rng, slow: f64) -> Sample {
        let prefills = 1.0 + rng.below(30) as f64;
        let requests = 1.0 + rng.below(40) as f64;
        let mut sample = Sample {
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

    fn error(learner: &Learner, rng: &mut Rng, slow: f64) -> f64 {
        let mut worst = 0.0_f64;
        for _ in 0..200 {
            let s = sample(rng, slow);
            let constants = learner.speed().constants();
            let expected: f64 = s.row().iter().zip(constants).map(|(x, c)| x * c * learner.health()).sum();
            worst = worst.max((expected / s.took - 1.0).abs());
        }
        worst
    }

    #[test]
    fn fifty_answers_suffice_whatever_the_worker_is_like() {
        for slow in [0.2, 1.0, 5.0, 40.0] {
            let mut rng = Rng::seeded(3);
            let mut learner = Learner::new(0.98, None);
            for _ in 0..50 {
                learner.learn(&sample(&mut rng, slow));
            }
            let worst = error(&learner, &mut rng, slow);
            assert!(worst < 0.05, "{slow}: {worst}");
        }
    }

    #[test]
    fn outliers_do_not_lead_it_astray() {
        let mut rng = Rng::seeded(5);
        let mut learner = Learner::new(0.98, None);
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
    fn nonsense_leaves_it_finite_and_in_bounds() {
        let mut rng = Rng::seeded(9);
        let mut learner = Learner::new(0.98, None);
        for _ in 0..3000 {
            let mut s = sample(&mut rng, 1.0);
            s.took = [0.0, f64::NAN, 1e-9, 1e9, f64::INFINITY, 0.3][rng.below(6)];
            s.output = [0.0, 1.0, 1e6, f64::NAN][rng.below(4)];
            learner.learn(&s);
            for (i, z) in learner.solution.into_iter().enumerate() {
                assert!(z.is_finite() && (BOUNDS[i].0..=BOUNDS[i].1).contains(&z), "{i}: {z}");
            }
            assert!(learner.health().is_finite() && learner.scale.is_finite() && learner.scale > 0.0);
        }
    }

    #[test]
    fn a_passing_slowness_is_noticed_and_forgotten() {
        let mut rng = Rng::seeded(2);
        let mut learner = Learner::new(0.98, None);
        let mut run = |n, slow| {
            (0..n).for_each(|_| learner.learn(&sample(&mut rng, slow)));
            learner.speed().step * learner.health() / TRUE[3]
        };
        run(100, 1.0);
        assert!(run(30, 4.0) > 3.0);
        assert!(run(30, 1.0) < 1.4);
    }
}
