//! A forgetting histogram of output lengths.

use super::buckets::{BUCKETS, bucket, middle};
use std::ops::RangeInclusive;

/// Lengths of the prior: from 16 to 1024 tokens, each doubling equally likely.
const PRIOR: RangeInclusive<usize> = 8..=20;
/// The least probability of a bucket, where probabilities are compared.
const RARE: f32 = 1e-3;
/// The share of a bucket that only one response has fallen into, and how many times as long as others an output can be.
const SINGLE: f32 = 0.003;
const MOST_LONGER: f32 = 4.0;
/// Weights are scaled down when that of the next response reaches this.
const RESCALE: f32 = 1e6;

/// How often each length was seen, in half doublings. Each response counts a little less with every later one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct LengthHistogram {
    weights: [f32; BUCKETS],
    /// Sums of the tokens, with the same weights.
    tokens: [f32; BUCKETS],
    all: f32,
    /// Weight of the next response; it grows, in place of all others shrinking.
    next: f32,
}

impl LengthHistogram {
    /// What is assumed before the first response.
    pub(crate) fn prior() -> Self {
        Self::even(PRIOR)
    }

    /// These buckets, each equally likely, with the weight of one response.
    pub(crate) fn even(buckets: RangeInclusive<usize>) -> Self {
        let mut prior = Self { weights: [0.0; BUCKETS], tokens: [0.0; BUCKETS], all: 0.0, next: 1.0 };
        let count = buckets.clone().count() as f32;
        for bucket in buckets {
            prior.weights[bucket] = 1.0 / count;
            prior.tokens[bucket] = middle(bucket) as f32 / count;
        }
        prior.all = 1.0;
        prior
    }

    /// The same distribution, with the weight of so many responses.
    pub(crate) fn weighing(&self, responses: f32) -> Self {
        let factor = responses / self.all;
        Self {
            weights: self.weights.map(|w| w * factor),
            tokens: self.tokens.map(|t| t * factor),
            all: responses,
            next: 1.0,
        }
    }

    /// Adds a response, and keeps `memory` of the weight of each earlier one. One that is much longer than all others counts as
    /// four times as long as those: should more of its kind come, they count in full, but one alone does not move the mean.
    pub(crate) fn add(&mut self, tokens: f32, memory: f32) {
        let tokens = tokens.min(MOST_LONGER * self.longest());
        let b = bucket(f64::from(tokens));
        self.next /= memory;
        self.weights[b] += self.next;
        self.tokens[b] += self.next * tokens;
        self.all += self.next;
        if self.next > RESCALE {
            *self = self.weighing(self.all / self.next);
        }
    }

    /// Probability of a bucket.
    pub(crate) fn share(&self, bucket: usize) -> f32 {
        self.weights[bucket] / self.all
    }

    /// Logarithm of the probability of a bucket; one that was never seen counts as rare, not as impossible.
    pub(crate) fn log_share(&self, bucket: usize) -> f32 {
        self.share(bucket).max(RARE).ln()
    }

    /// Mean length of a bucket.
    fn length(&self, bucket: usize) -> f32 {
        if self.weights[bucket] > 0.0 {
            self.tokens[bucket] / self.weights[bucket]
        } else {
            middle(bucket) as f32
        }
    }

    /// Length of the longest outputs that are not rare.
    fn longest(&self) -> f32 {
        let seen = (0..BUCKETS).rev().find(|b| self.share(*b) > SINGLE);
        seen.map_or(f32::INFINITY, |b| self.length(b))
    }

    /// Mean lengths of consecutive parts of the distribution, from short to long, which end at these shares of it.
    pub(crate) fn parts<const N: usize>(&self, ends: &[f32; N]) -> [f32; N] {
        let mut means = [0.0; N];
        let mut part = 0;
        let (mut start, mut below) = (0.0_f32, 0.0_f32);
        for b in 0..BUCKETS {
            let until = below + self.share(b);
            while below < until {
                // Rounding may leave a little behind the last end.
                let end = if part + 1 == N { f32::INFINITY } else { ends[part] };
                let to = until.min(end);
                means[part] += (to - below) * self.length(b);
                below = to;
                if below >= end {
                    means[part] /= end - start;
                    start = end;
                    part += 1;
                }
            }
        }
        if below > start {
            means[part] /= below - start;
        }
        for empty in part.max(1)..N {
            if means[empty] == 0.0 {
                means[empty] = means[empty - 1];
            }
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_the_mean() {
        let mut seen = LengthHistogram::prior().weighing(1e-6);
        for tokens in [10.0, 20.0, 20.0, 40.0] {
            seen.add(tokens, 1.0);
        }
        let parts = seen.parts(&[0.25, 0.5, 0.75, 1.0]);
        for (part, expected) in parts.into_iter().zip([10.0, 20.0, 20.0, 40.0]) {
            assert!((part - expected).abs() < 0.1, "{parts:?}");
        }
    }

    #[test]
    fn it_forgets_and_stays_finite() {
        let mut seen = LengthHistogram::prior();
        for tokens in [5.0, 500.0] {
            (0..100_000).for_each(|_| seen.add(tokens, 0.98));
            assert!(seen.share(bucket(tokens.into())) > 0.999);
        }
        assert!(seen.all.is_finite() && seen.next < 2.0 * RESCALE);
    }
}
