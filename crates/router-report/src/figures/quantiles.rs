//! Quantiles: a few for the summary, a curve for the charts.

use super::rounding::four_digits;
use router_core::quantile;
use serde::Serialize;

/// Mean and quantiles of values. A quantile is the smallest value that at least that fraction of all values does not
/// exceed.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct QuantileSummary {
    /// How many values there are.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 0.9 quantile.
    pub p90: f64,
    /// The 0.95 quantile.
    pub p95: f64,
    /// The 0.99 quantile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl QuantileSummary {
    /// The summary of `values`; absent if there are none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let max = *values.last()?;
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let at = |fraction| quantile(&values, fraction).unwrap_or(max);
        let n = values.len() as u64;
        Some(Self { n, mean, p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), max })
    }
}

/// The fractions at which a [`curve`] has its values: steps of 0.25 %, and of 0.025 % above 99 %, where tails are long.
pub(crate) fn fractions() -> Vec<f64> {
    let body = (0..396).map(|i| f64::from(i) / 400.0);
    body.chain((0..=40).map(|i| 0.99 + f64::from(i) / 4000.0)).map(|f| (f * 1e5).round() / 1e5).collect()
}

/// The values at [`fractions`]; empty if there are no values.
pub(crate) fn curve(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    fractions().into_iter().filter_map(|fraction| quantile(&values, fraction)).map(four_digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_observed_values() {
        let summary = QuantileSummary::of((1..=200).rev().map(f64::from).collect()).unwrap();
        assert_eq!(
            (summary.p50, summary.p90, summary.p95, summary.p99, summary.max),
            (100.0, 180.0, 190.0, 198.0, 200.0)
        );
        assert_eq!((summary.n, summary.mean), (200, 100.5));
        let one = QuantileSummary::of(vec![3.0]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (3.0, 3.0, 3.0));
        assert_eq!(QuantileSummary::of(Vec::new()), None);
    }

    #[test]
    fn curve_runs_from_min_to_max() {
        let curve = curve((0..10_000).map(f64::from).collect());
        assert_eq!(curve.len(), fractions().len());
        assert_eq!((curve.first(), curve.last()), (Some(&0.0), Some(&9999.0)));
        assert!(curve.is_sorted() && fractions().is_sorted());
    }
}
