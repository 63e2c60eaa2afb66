//! A rate that changes over time: a day with its night and its peaks, or steps.

use crate::distributions::normal;
use crate::workload::{RequestStart, Workload};
use router_core::{Rng, Time};
use std::fmt;
use std::str::FromStr;

/// Seconds for which the rate counts as constant.
const STEP_SECS: f64 = 10.0;
/// No rate is below this share of the mean.
const LEAST: f64 = 0.02;

/// How the rate of a load changes, as factors of its own.
#[derive(Clone, PartialEq, Debug)]
pub enum RateCurve {
    /// Days of so many seconds, with a mean of about 1: a sinusoid between 0.3 at night and 1.6, an hour's peak of 0.5 more in the
    /// evening, and noise that differs from day to day (standard deviation 10 %, correlated over half an hour; a day counts
    /// as 24 hours whatever its length).
    Day {
        /// Length of a day, in seconds.
        secs: f64,
    },
    /// From each of these seconds on, this factor; 1 before the first. Times go up.
    Steps(Vec<(f64, f64)>),
}

/// The text is no curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected day, day:SECS, or steps as SECS=FACTOR;SECS=FACTOR with times that go up and factors above 0"
)]
pub struct RateCurveError;

impl FromStr for RateCurve {
    type Err = RateCurveError;

    fn from_str(text: &str) -> Result<Self, RateCurveError> {
        let above_zero = |text: &str| text.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
        if text == "day" {
            return Ok(Self::Day { secs: 86_400.0 });
        }
        if let Some(secs) = text.strip_prefix("day:") {
            let secs = above_zero(secs).filter(|secs| *secs >= 60.0).ok_or(RateCurveError)?;
            return Ok(Self::Day { secs });
        }
        let step = |text: &str| {
            let (at, factor) = text.split_once('=')?;
            let at = at.trim().parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0)?;
            Some((at, above_zero(factor)?))
        };
        let steps: Vec<_> = text.split(';').map(step).collect::<Option<_>>().ok_or(RateCurveError)?;
        if steps.is_sorted_by(|a, b| a.0 < b.0) { Ok(Self::Steps(steps)) } else { Err(RateCurveError) }
    }
}

impl fmt::Display for RateCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day { secs } => write!(f, "day:{secs}"),
            Self::Steps(steps) => {
                let steps: Vec<_> = steps.iter().map(|(at, factor)| format!("{at}={factor}")).collect();
                f.write_str(&steps.join(";"))
            }
        }
    }
}

/// The factor over time, with its noise.
struct CurveWalk<'a> {
    curve: &'a RateCurve,
    noise: f64,
    rng: Rng,
}

impl CurveWalk<'_> {
    /// The factor of the step that begins at `at`; to be asked step by step.
    fn factor(&mut self, at: f64) -> f64 {
        match self.curve {
            RateCurve::Day { secs } => {
                let day = at / secs;
                let steps_per_half_hour = secs / 48.0 / STEP_SECS;
                let kept = (-1.0 / steps_per_half_hour.max(1.0)).exp();
                self.noise = kept * self.noise + 0.1 * (1.0 - kept * kept).sqrt() * normal(&mut self.rng);
                let sine = 0.95 - 0.65 * (day * std::f64::consts::TAU).cos();
                let peak = 0.5 * (-((day.fract() - 20.0 / 24.0) * 24.0).powi(2) / 0.5).exp();
                ((sine + peak) * (1.0 + self.noise)).max(LEAST)
            }
            RateCurve::Steps(steps) => {
                let passed = steps.partition_point(|(from, _)| *from <= at);
                passed.checked_sub(1).map_or(1.0, |last| steps[last].1)
            }
        }
    }
}

impl Workload {
    /// The load with arrivals that follow `curve`: where its factor is 2, twice as many come in the same time. Turns that follow
    /// a response keep their pauses. The noise of the curve follows `seed`.
    #[must_use]
    pub fn along(mut self, curve: &RateCurve, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..self.requests.len()).collect();
        let start = |request: &RequestStart| match request {
            RequestStart::At(at) => Some(at.as_secs_f64()),
            RequestStart::After { .. } => None,
        };
        order.retain(|i| start(&self.requests[*i].start).is_some());
        order.sort_by_key(|i| match self.requests[*i].start {
            RequestStart::At(at) => at,
            RequestStart::After { .. } => Time::ZERO,
        });
        let mut walk = CurveWalk { curve, noise: 0.0, rng: Rng::seeded(seed ^ 0xDA1) };
        // Even time that has passed at the beginning of the step, and the factor of the step.
        let (mut even, mut at) = (0.0, 0.0);
        let mut factor = walk.factor(0.0);
        for index in order {
            let request = &mut self.requests[index];
            let Some(own) = start(&request.start) else { continue };
            while own > even + factor * STEP_SECS {
                even += factor * STEP_SECS;
                at += STEP_SECS;
                factor = walk.factor(at);
            }
            request.start = RequestStart::At(Time::from_secs_f64(at + (own - even) / factor));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimulatedRequest;

    /// Requests every second, and how many of them came between two times.
    fn came(curve: &str, n: u64, from: f64, to: f64) -> usize {
        let even = (0..n).map(|i| SimulatedRequest::at(Time::from_secs_f64(i as f64), 1, 1));
        let load = Workload::new(even.collect()).along(&curve.parse().unwrap(), 1);
        let times = load.requests.iter().filter_map(|r| match r.start {
            RequestStart::At(at) => Some(at.as_secs_f64()),
            RequestStart::After { .. } => None,
        });
        times.filter(|at| (from..to).contains(at)).count()
    }

    #[test]
    fn steps_multiply_the_rate_from_their_time_on() {
        let of = |from, to| came("100=3;200=0.5", 1000, from, to);
        assert!((99..=101).contains(&of(0.0, 100.0)));
        assert!((298..=302).contains(&of(100.0, 200.0)));
        assert!((49..=51).contains(&of(200.0, 300.0)));
    }

    #[test]
    fn days_are_alike_and_nights_are_quiet() {
        let n = 3 * 86_400;
        let day = |day: f64| came("day", n, day * 86_400.0, (day + 1.0) * 86_400.0) as f64;
        assert!((0.9..1.1).contains(&(day(1.0) / day(0.0))));
        let hours = |from: f64, to: f64| came("day", n, from * 3600.0, to * 3600.0) as f64;
        assert!(hours(11.0, 13.0) > 3.0 * hours(0.0, 2.0));
        assert!(hours(19.5, 20.5) > 1.2 * hours(18.0, 19.0) * 0.8);
    }

    #[test]
    fn curves_parse_what_they_display() {
        for text in ["day:3600", "0=1;600=2.5"] {
            assert_eq!(text.parse::<RateCurve>().unwrap().to_string(), text);
        }
        for text in ["", "week", "day:0", "5=1;5=2", "0=-1", "day:x"] {
            assert_eq!(text.parse::<RateCurve>(), Err(RateCurveError), "{text}");
        }
    }
}
