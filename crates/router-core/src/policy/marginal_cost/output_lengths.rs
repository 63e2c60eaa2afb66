//! Distribution of output lengths: a decayed histogram, and the expected rest of running responses.

use crate::lengths::{BUCKETS, bucket, middle};

/// Decay per response.
const DECAY: f64 = 0.998;
/// The table is updated with each of the first responses, and then after this many.
const WARM_RESPONSES: u32 = 16;
const REFRESH_EVERY: u32 = 64;
/// Prior: lengths from 16 to 1024, each doubling equally likely, with the weight of this many responses.
const PRIOR: (usize, usize, f64) = (8, 20, 4.0);
/// Quantiles that represent the length of a new response.
const QUANTILES: [f64; 5] = [0.1, 0.3, 0.5, 0.7, 0.9];

/// The distribution of output lengths, in tokens.
#[derive(Clone, Debug)]
pub(super) struct OutputLengths {
    weights: [f64; BUCKETS],
    tokens: [f64; BUCKETS],
    /// Weight of the next response; it grows, instead of all others being scaled down.
    next: f64,
    responses: u32,
    mean: f64,
    /// By tokens generated so far: how many more steps a running response and a new one are expected to share.
    shared: [f64; BUCKETS],
    /// Equally likely lengths of a new response.
    quantiles: [f64; QUANTILES.len()],
}

impl Default for OutputLengths {
    fn default() -> Self {
        let mut lengths = Self {
            weights: [0.0; BUCKETS],
            tokens: [0.0; BUCKETS],
            next: 1.0,
            responses: 0,
            mean: 0.0,
            shared: [0.0; BUCKETS],
            quantiles: [0.0; QUANTILES.len()],
        };
        let (from, to, weight) = PRIOR;
        for bucket in from..=to {
            let each = weight / (to - from + 1) as f64;
            lengths.weights[bucket] = each;
            lengths.tokens[bucket] = each * middle(bucket);
        }
        lengths.tabulate();
        lengths
    }
}

impl OutputLengths {
    /// Expected length of a new response.
    pub(super) const fn mean(&self) -> f64 {
        self.mean
    }

    /// Expected length of a new response that is cut off at `cap`.
    pub(super) fn mean_up_to(&self, cap: f64) -> f64 {
        let all: f64 = self.weights.iter().sum();
        let cut: f64 = (0..BUCKETS).map(|b| self.weights[b] * self.length(b).min(cap)).sum();
        cut / all
    }

    /// How many steps a response that has `generated` tokens is expected to share with a new one.
    pub(super) fn shared_steps(&self, generated: f64) -> f64 {
        self.shared[bucket(generated)]
    }

    /// Equally likely lengths of a new response.
    pub(super) const fn quantiles(&self) -> &[f64] {
        &self.quantiles
    }

    /// Learns the length of one response.
    pub(super) fn learn(&mut self, tokens: u32) {
        let tokens = f64::from(tokens.max(1));
        let b = bucket(tokens);
        self.weights[b] += self.next;
        self.tokens[b] += self.next * tokens;
        self.next /= DECAY;
        if self.next > 1e9 {
            self.weights.iter_mut().chain(&mut self.tokens).for_each(|w| *w /= self.next);
            self.next = 1.0;
        }
        self.responses = self.responses.saturating_add(1);
        if self.responses < WARM_RESPONSES || self.responses.is_multiple_of(REFRESH_EVERY) {
            self.tabulate();
        }
    }

    /// Mean length of the responses in a bucket.
    fn length(&self, b: usize) -> f64 {
        if self.weights[b] > 0.0 { self.tokens[b] / self.weights[b] } else { middle(b) }
    }

    fn tabulate(&mut self) {
        let all: f64 = self.weights.iter().sum();
        self.mean = self.tokens.iter().sum::<f64>() / all;
        let lengths: [f64; BUCKETS] = std::array::from_fn(|b| self.length(b));
        let quantiles = QUANTILES.map(|q| {
            let mut below = 0.0;
            let reached = self.weights.iter().position(|w| {
                below += w;
                below >= q * all
            });
            lengths[reached.unwrap_or(BUCKETS - 1)]
        });
        self.quantiles = quantiles;
        for b in 0..BUCKETS {
            let generated = if b == 0 { 0.0 } else { middle(b) };
            let (mut weight, mut steps) = (0.0, 0.0);
            for longer in (0..BUCKETS).filter(|l| lengths[*l] > generated) {
                let rest = lengths[longer] - generated;
                let shared: f64 = quantiles.iter().map(|q| q.min(rest)).sum();
                weight += self.weights[longer];
                steps += self.weights[longer] * shared / QUANTILES.len() as f64;
            }
            // Longer than anything seen: the longer it has run, the longer it will run.
            let unheard: f64 = quantiles.iter().map(|q| q.min(0.5 * generated + 1.0)).sum();
            self.shared[b] =
                if weight > 1e-9 * all { steps / weight } else { unheard / QUANTILES.len() as f64 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_what_is_seen() {
        let mut lengths = OutputLengths::default();
        for _ in 0..3000 {
            lengths.learn(70);
        }
        assert!((lengths.mean() - 70.0).abs() < 3.0, "{}", lengths.mean());
        assert!((lengths.shared_steps(0.0) - 70.0).abs() < 5.0);
        assert!(lengths.shared_steps(50.0) < 30.0, "little is left of it");
        for _ in 0..3000 {
            lengths.learn(700);
        }
        assert!((lengths.mean() - 700.0).abs() < 30.0, "{}", lengths.mean());
    }

    #[test]
    fn heavy_tail_predicts_longer_remaining_output() {
        let mut lengths = OutputLengths::default();
        for i in 0..4000_u32 {
            lengths.learn(if i % 10 == 0 { 5000 } else { 50 });
        }
        assert!(lengths.shared_steps(100.0) > lengths.shared_steps(10.0));
    }

    #[test]
    fn cap_shortens_the_mean() {
        let lengths = OutputLengths::default();
        assert!((lengths.mean_up_to(10.0) - 10.0).abs() < 1e-9);
        assert!((lengths.mean_up_to(1e9) - lengths.mean()).abs() < 1e-9);
    }
}
