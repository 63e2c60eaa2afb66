//! What is computed of the values of a metric.

use router_core::quantile;

/// One number of many values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Statistic {
    Mean,
    Quantile(f64),
}

/// What is computed, and its name.
pub(super) const STATISTICS: [(Statistic, &str); 4] = [
    (Statistic::Mean, "mean"),
    (Statistic::Quantile(0.5), "median"),
    (Statistic::Quantile(0.9), "90 %"),
    (Statistic::Quantile(0.99), "99 %"),
];

impl Statistic {
    /// The statistic of values in ascending order; 0 of none.
    pub(super) fn of_sorted(self, sorted: &[f64]) -> f64 {
        match self {
            Self::Mean => sorted.iter().sum::<f64>() / sorted.len().max(1) as f64,
            Self::Quantile(fraction) => quantile(sorted, fraction).unwrap_or_default(),
        }
    }
}
