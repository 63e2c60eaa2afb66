//! A histogram of atomic counters, which can be added to others.

use super::family::Buckets;
use prometheus_client::encoding::{MetricEncoder, NoLabelSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts observations without a lock.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: Buckets,
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

/// What histograms counted, added up.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct HistogramTotals {
    /// Upper bounds and the observations between each and the one below it; empty before the first histogram is added.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &Buckets) -> Self {
        let counts = (0..=bounds.bounds().len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds: bounds.clone(), counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, value: f64) {
        let at = self.bounds.bounds().iter().position(|bound| value <= *bound);
        if let Some(count) = self.counts.get(at.unwrap_or(self.counts.len() - 1)) {
            count.fetch_add(1, Relaxed);
        }
        // The closure always returns a value, so this cannot fail.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, |sum| Some((f64::from_bits(sum) + value).to_bits()));
    }
}

impl HistogramTotals {
    /// Adds what a histogram of the same bounds has counted.
    pub(crate) fn add(&mut self, histogram: &Histogram) {
        if self.buckets.is_empty() {
            let bounds = histogram.bounds.bounds().iter().chain([&f64::MAX]);
            self.buckets = bounds.map(|bound| (*bound, 0)).collect();
        }
        for (bucket, count) in self.buckets.iter_mut().zip(&histogram.counts) {
            bucket.1 += count.load(Relaxed);
        }
        self.sum += f64::from_bits(histogram.sum.load(Relaxed));
    }

    /// How many observations there were.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count(), &self.buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_bucket_by_bucket() {
        let bounds = Buckets::new(&[1.0, 2.0]);
        let (one, other) = (Histogram::new(&bounds), Histogram::new(&bounds));
        [0.5, 1.0, 7.0].into_iter().for_each(|value| one.observe(value));
        other.observe(1.5);
        let mut both = HistogramTotals::default();
        both.add(&other);
        both.add(&one);
        assert_eq!(both.buckets, [(1.0, 2), (2.0, 1), (f64::MAX, 1)]);
        assert_eq!((both.count(), both.sum), (4, 10.0));
    }
}
