//! Distributions of times.

use hdrhistogram::Histogram;
use std::time::Duration;

/// A distribution of times in an HDR histogram: microseconds, to three significant digits, in bounded memory.
#[derive(Clone, Debug)]
pub struct TimeHistogram(Option<Histogram<u64>>);

impl Default for TimeHistogram {
    fn default() -> Self {
        // Three digits are within the crate's bounds, so there is always a histogram.
        Self(Histogram::new(3).ok())
    }
}

impl TimeHistogram {
    pub(crate) fn add(&mut self, time: Duration) {
        if let Some(histogram) = &mut self.0 {
            // It grows as needed; only a time of centuries could be refused.
            let _ = histogram.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// The mean in seconds; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        self.some().map(|h| h.mean() * 1e-6)
    }

    /// The `p`-th percentile in seconds, 0 to 100; `None` of nothing.
    pub fn at(&self, p: f64) -> Option<f64> {
        self.some().map(|h| h.value_at_percentile(p) as f64 * 1e-6)
    }

    /// The longest in seconds; `None` of nothing.
    pub fn max(&self) -> Option<f64> {
        self.some().map(|h| h.max() as f64 * 1e-6)
    }

    fn some(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref().filter(|h| !h.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_match_and_empty_has_none() {
        let mut times = TimeHistogram::default();
        assert_eq!((times.mean(), times.at(50.0), times.max()), (None, None, None));
        (1..=1000).for_each(|ms| times.add(Duration::from_millis(ms)));
        for (p, seconds) in [(50.0, 0.5), (90.0, 0.9), (99.0, 0.99)] {
            assert!((times.at(p).unwrap() / seconds - 1.0).abs() < 2e-3, "p{p}: {:?}", times.at(p));
        }
        assert!((times.mean().unwrap() - 0.5005).abs() < 1e-3);
        assert_eq!(times.count(), 1000);
    }
}
