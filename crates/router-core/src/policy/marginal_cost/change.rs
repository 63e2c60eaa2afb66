//! Notices in a few observations that a worker has become slower or faster.
//!
//! Each observation is the logarithm of how long something took over how long it was foreseen to take. What it deviates from
//! the usual adds to two sums, one for each direction, less an allowance for noise: a sum that grows past a threshold is a
//! change (Page, "Continuous inspection schemes", 1954; Hinkley, 1971).

use crate::Time;

/// Events of a stream of which the pace is measured, at least.
pub(super) const MIN_PACE_STEPS: u32 = 8;
/// The part of a stream's time that prompts of others may take, at most.
pub(super) const MOST_PROMPT_SHARE: f64 = 0.3;

/// What was observed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Observed {
    /// The time to the first token of a stream whose prompt was computed alone.
    FirstToken,
    /// The time to the first token of another stream.
    QueuedFirstToken,
    /// The pace of a stream that still runs.
    Pace,
    /// The time of a whole response.
    Response,
}

/// Observations of a kind that tell what is usual, before deviations count.
const FIRST_OBSERVATIONS: u32 = 8;
/// How fast the usual deviation and the usual noise follow the observations.
const USUAL_GAIN: f64 = 0.02;
const NOISE_GAIN: f64 = 0.05;
/// What a single observation counts for at most, and what it moves the usual by: logarithms.
const MOST: f64 = 1.5;
const MOST_USUAL: f64 = 0.5;
/// The noise that is assumed at first, and the least allowance for it: a change of less than 20 % is not looked for.
const FIRST_NOISE: f64 = 0.2;
const LEAST_ALLOWANCE: f64 = 0.2;
/// The allowance, in mean deviations.
const ALLOWANCE: f64 = 2.0;
/// The sum that is a change, and the observations that it takes at least. A worker four times as slow is noticed by the third.
const THRESHOLD: f64 = 1.6;
const LEAST_OBSERVATIONS: u32 = 3;
/// Observations without a deviation among them, at most: a change is in all that is observed, while a stream that the engine put
/// back into its queue is one among others.
const MOST_USUAL_OBSERVATIONS: u32 = 1;

/// The usual deviation of one kind of observation, and its noise.
#[derive(Clone, Copy, Debug)]
struct Usual {
    deviation: f64,
    noise: f64,
    count: u32,
}

impl Default for Usual {
    fn default() -> Self {
        Self { deviation: 0.0, noise: FIRST_NOISE, count: 0 }
    }
}

impl Usual {
    /// How much more than usual an observation deviates, and the allowance for noise; absent before the usual is known.
    fn judge(&mut self, deviation: f64) -> Option<(f64, f64)> {
        self.count = self.count.saturating_add(1);
        if self.count <= FIRST_OBSERVATIONS {
            self.deviation += (deviation.clamp(-MOST, MOST) - self.deviation) / f64::from(self.count);
            return None;
        }
        let unusual = (deviation - self.deviation).clamp(-MOST, MOST);
        let allowance = (ALLOWANCE * self.noise).max(LEAST_ALLOWANCE);
        self.deviation += USUAL_GAIN * unusual.clamp(-MOST_USUAL, MOST_USUAL);
        self.noise += NOISE_GAIN * (unusual.abs() - self.noise);
        Some((unusual, allowance))
    }
}

/// One cumulative sum.
#[derive(Clone, Copy, Debug, Default)]
struct CumulativeSum {
    sum: f64,
    /// The deviations since the sum was last zero, and their number.
    deviations: f64,
    count: u32,
    /// How many of them were within the allowance.
    usual: u32,
}

impl CumulativeSum {
    /// Adds a deviation in the direction of this sum; gives the mean deviation if that is a change.
    fn add(&mut self, deviation: f64, allowance: f64) -> Option<f64> {
        self.sum += deviation - allowance;
        self.usual += u32::from(deviation <= allowance);
        if self.sum <= 0.0 || self.usual > MOST_USUAL_OBSERVATIONS {
            *self = Self::default();
            return None;
        }
        self.deviations += deviation;
        self.count += 1;
        (self.sum > THRESHOLD && self.count >= LEAST_OBSERVATIONS)
            .then(|| self.deviations / f64::from(self.count))
    }
}

/// Looks for changes in what is observed of one worker.
#[derive(Clone, Copy, Debug, Default)]
struct ChangeDetector {
    usual: [Usual; 4],
    slower: CumulativeSum,
    faster: CumulativeSum,
}

impl ChangeDetector {
    /// Takes an observation: the logarithm of the time taken over the time foreseen. If the worker has changed, gives how many
    /// times as slow it has become.
    fn observe(&mut self, observed: Observed, deviation: f64) -> Option<f64> {
        if !deviation.is_finite() {
            return None;
        }
        let (unusual, allowance) = self.usual[observed as usize].judge(deviation)?;
        let slower = self.slower.add(unusual, allowance);
        let faster = self.faster.add(-unusual, allowance);
        let change = slower.or(faster.map(|mean| -mean))?;
        (self.slower, self.faster) = Default::default();
        Some(change.exp())
    }
}

/// Watches the speed of one worker, and knows which observations say something about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpeedWatch {
    detector: ChangeDetector,
    /// When it changed last.
    changed_at: Time,
    /// When requests last had to wait for a place, because it was at its limits.
    full_at: Time,
}

impl SpeedWatch {
    /// Takes an observation of something that began at `since` and took `ratio` times as long as foreseen. If the worker has
    /// changed, gives how many times as slow it has become. What began before the last change is of two speeds, and what waited
    /// for a place in the worker was not slow: both say nothing.
    pub(super) fn observe(&mut self, now: Time, since: Time, observed: Observed, ratio: f64) -> Option<f64> {
        if self.has_changed_since(since) || since <= self.full_at {
            return None;
        }
        let change = self.detector.observe(observed, ratio.ln())?;
        self.changed_at = now;
        Some(change)
    }

    /// Whether it changed after a time.
    pub(super) fn has_changed_since(&self, time: Time) -> bool {
        time < self.changed_at
    }

    /// Requests may have to wait for a place in it now.
    pub(super) const fn found_full(&mut self, now: Time) {
        self.full_at = now;
    }

    /// How long ago it was last found full, in seconds.
    pub(super) fn secs_since_full(&self, now: Time) -> f64 {
        now.secs_since(self.full_at)
    }

    /// It is certainly not slower than foreseen: whatever seemed to be slow had another cause.
    pub(super) fn is_not_slower(&mut self) {
        self.detector.slower = CumulativeSum::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Noise of a standard deviation of about `spread`.
    fn noise(rng: &mut Rng, spread: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| rng.below(1 << 20) as f64 / f64::from(1 << 20)).sum();
        spread * (sum - 6.0)
    }

    /// A detector that has seen what is usual, with a bias.
    fn settled(rng: &mut Rng, spread: f64) -> ChangeDetector {
        let mut detector = ChangeDetector::default();
        for _ in 0..200 {
            assert_eq!(detector.observe(Observed::Pace, 0.3 + noise(rng, spread)), None);
        }
        detector
    }

    /// Observations until a change by `factor` is noticed, and what it is taken for.
    fn noticed(rng: &mut Rng, spread: f64, factor: f64) -> (u32, f64) {
        let mut detector = settled(rng, spread);
        for count in 1..100 {
            let deviation = 0.3 + f64::ln(factor) + noise(rng, spread);
            if let Some(change) = detector.observe(Observed::Pace, deviation) {
                return (count, change);
            }
        }
        (100, 1.0)
    }

    #[test]
    fn change_is_noticed_in_three_to_five_observations() {
        let mut rng = Rng::seeded(1);
        for (factor, most) in [(4.0, 3), (0.25, 3), (2.0, 5), (0.5, 5)] {
            for _ in 0..100 {
                let (count, change) = noticed(&mut rng, 0.05, factor);
                assert!(
                    count <= most && (change / factor).ln().abs() < 0.3,
                    "{factor}: {change} after {count}"
                );
            }
        }
        for _ in 0..100 {
            let (count, change) = noticed(&mut rng, 0.3, 4.0);
            assert!(count <= 6 && change > 2.0, "{change} after {count}");
        }
    }

    #[test]
    fn noise_is_no_change() {
        let mut rng = Rng::seeded(2);
        for spread in [0.02, 0.1, 0.3] {
            let mut detector = settled(&mut rng, spread);
            let changes = (0..20_000)
                .filter(|_| detector.observe(Observed::Pace, 0.3 + noise(&mut rng, spread)).is_some());
            assert!(changes.count() <= 2, "{spread}");
        }
    }

    #[test]
    fn slow_drift_and_single_outliers_are_no_change() {
        let mut rng = Rng::seeded(3);
        let mut detector = settled(&mut rng, 0.05);
        for i in 0..2000 {
            let outlier = if i % 20 == 0 { 3.0 } else { 0.0 };
            let drift = 0.0005 * f64::from(i);
            assert_eq!(detector.observe(Observed::Pace, 0.3 + drift + outlier + noise(&mut rng, 0.05)), None);
        }
        assert_eq!(detector.observe(Observed::Response, f64::NAN), None);
    }
}
