//! A sliding window of completions, split into an older and a newer half, with exact running sums.
//!
//! All quantities are kept as integers (nanoseconds, tokens), so the sums never drift, however many samples are added
//! and removed. Floats appear only in the results.

use crate::{Completion, Time};
use std::collections::VecDeque;

/// What one completion adds to the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WindowSample {
    /// When the last byte came.
    pub(crate) finished_at: Time,
    /// Nanoseconds from sending to the last byte.
    pub(crate) latency_ns: u64,
    /// Generated tokens.
    pub(crate) output_tokens: u32,
}

impl WindowSample {
    /// The sample of a completion whose number of generated tokens is known.
    pub(crate) fn of(completion: &Completion) -> Option<Self> {
        let latency = completion.finished_at.since(completion.dispatched_at);
        Some(Self {
            finished_at: completion.finished_at,
            latency_ns: u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX),
            output_tokens: completion.output_tokens()?,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct WindowSums {
    tokens: u128,
    latency_ns: u128,
}

impl WindowSums {
    fn add(&mut self, s: &WindowSample) {
        self.tokens += u128::from(s.output_tokens);
        self.latency_ns += u128::from(s.latency_ns);
    }

    fn remove(&mut self, s: &WindowSample) {
        self.tokens -= u128::from(s.output_tokens);
        self.latency_ns -= u128::from(s.latency_ns);
    }

    fn less(self, other: Self) -> Self {
        Self { tokens: self.tokens - other.tokens, latency_ns: self.latency_ns - other.latency_ns }
    }
}

/// How throughput and latency change from the older half of a window to the newer (docs/policies/marginal_utility.md).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Gradients {
    /// Change of throughput, in tokens per second per second.
    pub(crate) throughput: f64,
    /// Change of latency, in seconds per second.
    pub(crate) latency: f64,
}

/// The last `capacity` samples, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct GradientWindow {
    ring: VecDeque<WindowSample>,
    capacity: usize,
    /// How many samples belong to the older half: `len / 2`.
    mid: usize,
    older: WindowSums,
    whole: WindowSums,
}

impl GradientWindow {
    /// An empty window. It never holds more than `capacity` samples and allocates only here.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            ring: VecDeque::with_capacity(capacity),
            capacity,
            mid: 0,
            older: WindowSums::default(),
            whole: WindowSums::default(),
        }
    }

    /// How many samples it holds.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Adds the newest sample and, when full, drops the oldest.
    pub(crate) fn push(&mut self, sample: WindowSample) {
        if self.ring.len() == self.capacity
            && let Some(oldest) = self.ring.pop_front()
        {
            self.whole.remove(&oldest);
            if self.mid > 0 {
                self.mid -= 1;
                self.older.remove(&oldest);
            }
        }
        self.ring.push_back(sample);
        self.whole.add(&sample);
        while self.mid < self.ring.len() / 2 {
            self.older.add(&self.ring[self.mid]);
            self.mid += 1;
        }
    }

    /// The gradients between its halves; absent with fewer than two samples.
    pub(crate) fn gradients(&self) -> Option<Gradients> {
        let (mid, len) = (self.mid, self.len());
        let dt = match self.seconds(mid.checked_sub(1)?, len - 1) {
            dt if dt > 0.0 => dt,
            _ => 1.0,
        };
        let newer = self.whole.less(self.older);
        let throughput = self.throughput(newer, mid, len) - self.throughput(self.older, 0, mid);
        let latency = mean_seconds(newer, len - mid) - mean_seconds(self.older, mid);
        Some(Gradients { throughput: throughput / dt, latency: latency / dt })
    }

    /// Tokens per second and mean latency in seconds over the whole window; absent while it is empty.
    pub(crate) fn averages(&self) -> Option<(f64, f64)> {
        let n = self.len();
        (n > 0).then(|| (self.throughput(self.whole, 0, n), mean_seconds(self.whole, n)))
    }

    /// Tokens per second of the samples `from..to`: 0 when they all ended at the same time; a single sample
    /// counts as one second.
    fn throughput(&self, sums: WindowSums, from: usize, to: usize) -> f64 {
        let span = if to - from == 1 { 1.0 } else { self.seconds(from, to - 1) };
        if span > 0.0 { sums.tokens as f64 / span } else { 0.0 }
    }

    fn seconds(&self, from: usize, to: usize) -> f64 {
        self.ring[to].finished_at.secs_since(self.ring[from].finished_at)
    }
}

fn mean_seconds(sums: WindowSums, n: usize) -> f64 {
    sums.latency_ns as f64 * 1e-9 / n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The gradients as docs/policies/marginal_utility.md defines them, computed from scratch each time.
    fn naive(samples: &[WindowSample]) -> Option<Gradients> {
        let mid = samples.len() / 2;
        let (h1, h2) = samples.split_at(mid);
        let (l1, l2) = (h1.last()?, h2.last()?);
        let throughput = |h: &[WindowSample]| {
            let tokens: u64 = h.iter().map(|s| u64::from(s.output_tokens)).sum();
            let span = h[h.len() - 1].finished_at.secs_since(h[0].finished_at);
            let span = if h.len() == 1 { 1.0 } else { span };
            if span > 0.0 { tokens as f64 / span } else { 0.0 }
        };
        let latency = |h: &[WindowSample]| {
            h.iter().map(|s| u128::from(s.latency_ns)).sum::<u128>() as f64 * 1e-9 / h.len() as f64
        };
        let dt = l2.finished_at.secs_since(l1.finished_at);
        let dt = if dt > 0.0 { dt } else { 1.0 };
        Some(Gradients {
            throughput: (throughput(h2) - throughput(h1)) / dt,
            latency: (latency(h2) - latency(h1)) / dt,
        })
    }

    prop_compose! {
        fn sample()(at in 0_u64..5_000_000_000, latency in prop_oneof![0_u64..9, any::<u64>()], tokens: u32) -> WindowSample {
            WindowSample { finished_at: Time::from_nanos(at), latency_ns: latency, output_tokens: tokens }
        }
    }

    proptest! {
        #[test]
        fn running_sums_equal_a_recount(capacity in 1_usize..25, samples in prop::collection::vec(sample(), 0..120)) {
            let mut window = GradientWindow::new(capacity);
            for end in 1..=samples.len() {
                window.push(samples[end - 1]);
                let kept = &samples[end.saturating_sub(capacity)..end];
                prop_assert_eq!(window.len(), kept.len());
                // Exact equality: integer sums must not drift, not even by one unit in the last place.
                prop_assert_eq!(window.gradients(), naive(kept));
            }
        }
    }
}
