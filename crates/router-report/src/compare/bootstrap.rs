//! The circular block bootstrap of Politis and Romano (1992): intervals from requests that are drawn again in blocks of
//! neighbours, where the first request follows the last.
//!
//! Requests that are served at about the same time wait in the same queues, so their latencies are not independent.
//! Drawing single requests would make intervals too narrow; drawing blocks of neighbours keeps what they share.

use super::pairs::PairingMethod;
use super::statistic::{STATISTICS, Statistic};
use crate::run::RecordedRequest;
use router_core::Rng;
use serde::Serialize;

/// How often requests are drawn again, unless there are very many.
const RESAMPLES: usize = 1_000;
const MIN_RESAMPLES: usize = 200;
/// Requests drawn in all, for runs with very many.
const MAX_DRAWN: usize = 40_000_000;
/// Blocks that a series has at least; fewer say nothing of how they vary.
const MIN_BLOCKS: usize = 10;
/// Values whose correlation is computed; more are put together.
const MAX_CORRELATED: usize = 20_000;
/// Lags of which none may be correlated for the correlation to have ended.
const QUIET_LAGS: usize = 5;

/// The rank of a request without a value: larger than every rank.
const NO_VALUE: u32 = u32::MAX;

/// A 95 % interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// The central 95 % of `values`.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let at = |f| Statistic::Quantile(f).of_sorted(&values);
        Self { low: at(0.025), high: at(0.975) }
    }

    /// Whether it has `value`.
    pub(crate) fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// The values of one metric in the order of the requests, and their ranks.
pub(super) struct Series {
    /// The position of each request's value among the sorted values; `NO_VALUE` where it has none.
    ranks: Vec<u32>,
    sorted: Vec<f64>,
}

impl Series {
    pub(super) fn of(values: &[Option<f64>]) -> Self {
        let mut known: Vec<(f64, usize)> =
            values.iter().enumerate().filter_map(|(at, value)| Some(((*value)?, at))).collect();
        known.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut ranks = vec![NO_VALUE; values.len()];
        for (rank, (_, at)) in known.iter().enumerate() {
            ranks[*at] = rank as u32;
        }
        Self { ranks, sorted: known.into_iter().map(|(value, _)| value).collect() }
    }

    /// How many requests have a value.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn statistic(&self, statistic: Statistic) -> f64 {
        statistic.of_sorted(&self.sorted)
    }

    /// All statistics of the requests that were drawn; `counts` is room for as many numbers as there are values.
    fn drawn(&self, indices: &[u32], counts: &mut Vec<u32>) -> [f64; STATISTICS.len()] {
        counts.clear();
        counts.resize(self.sorted.len(), 0);
        let mut total = 0_u64;
        for &index in indices {
            if let Some(count) = counts.get_mut(self.ranks[index as usize] as usize) {
                *count += 1;
                total += 1;
            }
        }
        let sum: f64 = counts.iter().zip(&self.sorted).map(|(n, value)| f64::from(*n) * value).sum();
        let mut found = [sum / total.max(1) as f64; STATISTICS.len()];
        let mut seen = 0_u64;
        let mut counted = counts.iter().zip(&self.sorted);
        let mut value = self.sorted.first().copied().unwrap_or_default();
        // The quantiles are in ascending order, so one pass finds all.
        for (slot, (statistic, _)) in found.iter_mut().zip(STATISTICS) {
            let Statistic::Quantile(fraction) = statistic else { continue };
            let wanted = ((fraction * total as f64).ceil() as u64).max(1);
            while seen < wanted {
                let Some((n, next)) = counted.next() else { break };
                seen += u64::from(*n);
                value = *next;
            }
            *slot = value;
        }
        found
    }
}

/// How requests are drawn again.
pub(super) struct Resampling {
    pub(super) method: PairingMethod,
    /// Requests in a block.
    pub(super) block: usize,
    pub(super) resamples: usize,
    sizes: (usize, usize),
}

impl Resampling {
    /// The resampling of two runs, whose requests are in the order in which they were sent.
    pub(super) fn of(a: &[&RecordedRequest], b: &[&RecordedRequest], method: PairingMethod) -> Self {
        let latencies = |requests: &[&RecordedRequest]| -> Vec<f64> {
            requests.iter().map(|r| r.latency.unwrap_or_default()).collect()
        };
        let (first, second) = (latencies(a), latencies(b));
        let block = match method {
            PairingMethod::Paired => {
                block_length(&first.iter().zip(&second).map(|(a, b)| b - a).collect::<Vec<_>>())
            }
            PairingMethod::Separate => block_length(&first).max(block_length(&second)),
        };
        let resamples = (MAX_DRAWN / (a.len() + b.len()).max(1)).clamp(MIN_RESAMPLES, RESAMPLES);
        Self { method, block, resamples, sizes: (a.len(), b.len()) }
    }

    /// Draws both series again and again: the same requests of both where they are paired.
    pub(super) fn draw(&self, a: &Series, b: &Series) -> Resampled {
        let mut rng = Rng::seeded(1);
        let (mut own, mut other, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        let statistics = (0..self.resamples).map(|_| {
            self.indices(&mut rng, self.sizes.0, &mut own);
            let first = a.drawn(&own, &mut counts);
            let indices = match self.method {
                PairingMethod::Paired => &own,
                PairingMethod::Separate => {
                    self.indices(&mut rng, self.sizes.1, &mut other);
                    &other
                }
            };
            (first, b.drawn(indices, &mut counts))
        });
        Resampled { statistics: statistics.collect() }
    }

    /// Draws as many of `n` requests as there are, in blocks that begin anywhere and go round the end.
    fn indices(&self, rng: &mut Rng, n: usize, drawn: &mut Vec<u32>) {
        drawn.clear();
        while drawn.len() < n {
            let start = rng.below(n);
            let length = self.block.min(n - drawn.len());
            drawn.extend((start..start + length).map(|at| (at % n) as u32));
        }
    }
}

/// The statistics of both series in every resample.
pub(super) struct Resampled {
    statistics: Vec<([f64; STATISTICS.len()], [f64; STATISTICS.len()])>,
}

impl Resampled {
    /// The interval of the difference of the statistic at `at`.
    pub(super) fn difference(&self, at: usize) -> Interval {
        Interval::of(self.statistics.iter().map(|(a, b)| b[at] - a[at]).collect())
    }

    /// The interval of the ratio of the statistic at `at`; absent where the first series has 0.
    pub(super) fn ratio(&self, at: usize) -> Option<Interval> {
        let ratios = self.statistics.iter().map(|(a, b)| (a[at] > 0.0).then(|| b[at] / a[at]));
        Some(Interval::of(ratios.collect::<Option<_>>()?))
    }
}

/// How many neighbours are drawn together: twice the lag from which on `values` are no longer correlated with those before
/// them, found as by Politis and White (2004), but not less than the cube root of their number, nor more than a tenth of it.
fn block_length(values: &[f64]) -> usize {
    let group = values.len().div_ceil(MAX_CORRELATED);
    if group > 1 {
        // Means of neighbours are correlated over the same time, and are few enough to look at all lags.
        let means: Vec<f64> =
            values.chunks(group).map(|part| part.iter().sum::<f64>() / part.len() as f64).collect();
        return group * block_length(&means);
    }
    let n = values.len();
    let most = (n / MIN_BLOCKS).max(1);
    let least = (n as f64).cbrt().ceil() as usize;
    let bound = 2.0 * ((n.max(10) as f64).log10() / n.max(1) as f64).sqrt();
    let mean = values.iter().sum::<f64>() / n.max(1) as f64;
    let variance: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    if variance <= 0.0 {
        return least.clamp(1, most);
    }
    let correlation = |lag: usize| {
        let pairs = values.iter().zip(&values[lag..]);
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / variance
    };
    let mut quiet = 0;
    let mut lag = 0;
    // A longer block than `most` is not used, so longer lags need not be looked at.
    while quiet < QUIET_LAGS && lag < most.min(n - 1) {
        lag += 1;
        quiet = if correlation(lag).abs() < bound { quiet + 1 } else { 0 };
    }
    (2 * (lag - quiet)).max(least).clamp(1, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series in which each value keeps `memory` of the one before.
    fn series(n: usize, memory: f64, seed: u64) -> Vec<f64> {
        let mut rng = Rng::seeded(seed);
        let mut value = 0.0;
        let step = |_| {
            value = memory * value + (1.0 - memory * memory).sqrt() * (rng.unit_f64() - 0.5) * 12f64.sqrt();
            value
        };
        (0..n).map(step).collect()
    }

    fn requests(latencies: &[f64]) -> Vec<RecordedRequest> {
        let request = |l: &f64| RecordedRequest { ok: true, latency: Some(*l), ..RecordedRequest::default() };
        latencies.iter().map(request).collect()
    }

    fn mean_interval(a: &[f64], b: &[f64], method: PairingMethod) -> Interval {
        let (first, second) = (requests(a), requests(b));
        let resampling =
            Resampling::of(&first.iter().collect::<Vec<_>>(), &second.iter().collect::<Vec<_>>(), method);
        let of = |v: &[f64]| Series::of(&v.iter().copied().map(Some).collect::<Vec<_>>());
        resampling.draw(&of(a), &of(b)).difference(0)
    }

    #[test]
    fn correlated_neighbours_make_longer_blocks() {
        assert_eq!(block_length(&series(2000, 0.0, 1)), 13, "the cube root of 2,000");
        let long = block_length(&series(2000, 0.95, 1));
        assert!((30..=200).contains(&long), "{long}");
        let many = block_length(&series(200_000, 0.0, 1));
        assert!((100..=2_000).contains(&many), "{many}: of 20,000 means of ten");
        assert_eq!(block_length(&[1.0; 50]), 4);
        assert_eq!((block_length(&[]), block_length(&[1.0, 2.0])), (1, 1));
    }

    #[test]
    fn intervals_hold_the_true_difference_as_often_as_they_say() {
        // The true difference is 0; 95 % intervals miss it in about 5 % of the trials.
        for (memory, most) in [(0.0, 18), (0.9, 26)] {
            let misses = (0..200).filter(|&trial| {
                let zeros = vec![0.0; 500];
                let noise = series(500, memory, 100 + trial);
                !mean_interval(&zeros, &noise, PairingMethod::Paired).contains(0.0)
            });
            let misses = misses.count();
            assert!((2..=most).contains(&misses), "{misses} of 200 with memory {memory}");
        }
    }

    #[test]
    fn pairs_tell_more_than_two_samples() {
        // Requests differ much from each other, and each is 0.1 slower in the second run.
        let first = series(400, 0.0, 5);
        let second: Vec<f64> = first.iter().map(|v| v + 0.1).collect();
        let paired = mean_interval(&first, &second, PairingMethod::Paired);
        assert!((paired.low - 0.1).abs() < 1e-9 && (paired.high - 0.1).abs() < 1e-9, "{paired:?}");
        let separate = mean_interval(&first, &second, PairingMethod::Separate);
        assert!(separate.contains(0.0) && separate.contains(0.1), "{separate:?}");
    }

    #[test]
    fn a_drawn_sample_has_the_quantiles_of_its_values() {
        let values: Vec<Option<f64>> = (0..100).map(|i| (i != 3).then_some(f64::from(i))).collect();
        let series = Series::of(&values);
        let drawn = series.drawn(&[1, 2, 2, 3, 50, 99], &mut Vec::new());
        assert_eq!(drawn, [154.0 / 5.0, 2.0, 99.0, 99.0], "request 3 has no value");
    }
}
