//! When requests arrive.

use router_core::Rng;
use std::time::Duration;

/// Requests per second: finite and above zero.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct RequestRate(f64);

impl RequestRate {
    /// A rate of `per_second`; `None` unless it is finite and above zero.
    pub fn per_second(per_second: f64) -> Option<Self> {
        (per_second.is_finite() && per_second > 0.0).then_some(Self(per_second))
    }

    /// Requests per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The arrival process. The first request arrives at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ArrivalProcess {
    /// Poisson: exponential gaps, as from many independent users.
    Poisson(RequestRate),
    /// Evenly spaced.
    Constant(RequestRate),
    /// As fast as they can be sent. No arrival is planned: a request arrives when it is sent.
    Immediate,
}

impl ArrivalProcess {
    /// The endless sequence of arrivals under `seed`, each counted from the first.
    pub(crate) fn times(self, seed: u64) -> impl Iterator<Item = Duration> {
        let mut rng = Rng::seeded(seed);
        let (mut at, mut count) = (0.0, 0u64);
        std::iter::from_fn(move || {
            let now = at;
            count += 1;
            match self {
                Self::Poisson(rate) => at += -(1.0 - rng.unit_f64()).ln() / rate.0,
                // A product does not add up rounding errors, a sum would.
                Self::Constant(rate) => at = count as f64 / rate.0,
                Self::Immediate => {}
            }
            Some(seconds(now))
        })
    }
}

/// Seconds as a duration, clamped to what a duration can hold.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: f64) -> RequestRate {
        RequestRate::per_second(per_second).unwrap()
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let times: Vec<f64> =
            ArrivalProcess::Poisson(rate(20.0)).times(7).take(20_001).map(|t| t.as_secs_f64()).collect();
        assert!(times[0] == 0.0);
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let deviation = (gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
        assert!((0.049..0.051).contains(&mean) && (0.048..0.052).contains(&deviation), "{mean} {deviation}");
        let again: Vec<f64> =
            ArrivalProcess::Poisson(rate(20.0)).times(7).take(20_001).map(|t| t.as_secs_f64()).collect();
        assert_eq!(times, again, "a seed fixes the arrivals");
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        let last = ArrivalProcess::Constant(rate(3.0)).times(1).nth(3_000_000).unwrap();
        assert_eq!(last, Duration::from_secs(1_000_000));
        assert!(ArrivalProcess::Immediate.times(1).take(100).all(|t| t.is_zero()));
    }

    #[test]
    fn rate_is_finite_and_positive() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(RequestRate::per_second(wrong), None);
        }
    }
}
