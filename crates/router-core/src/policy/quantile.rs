//! Quantiles by nearest rank: of a sorted slice, and of the last few of a stream of small numbers.

use std::collections::VecDeque;

/// Numbers from here on are counted as this one.
const CAP: usize = 1023;

/// The `fraction`-quantile of values in ascending order by nearest rank: the smallest value that at least this fraction of
/// them does not exceed, and for a fraction of 0 the smallest. Absent when there are none.
pub fn quantile<T: Copy>(sorted: &[T], fraction: f64) -> Option<T> {
    sorted.get(rank(sorted.len(), fraction) - 1).copied()
}

/// The rank of the quantile among `count` values, from one.
fn rank(count: usize, fraction: f64) -> usize {
    ((fraction * count as f64).ceil() as usize).clamp(1, count.max(1))
}

/// The last `window` numbers and their quantile.
#[derive(Clone, Debug)]
pub(crate) struct SlidingQuantile {
    share: f64,
    window: usize,
    last: VecDeque<u16>,
    /// How often each number occurs in the window.
    counts: Vec<u16>,
    /// The quantile, and how many numbers in the window are not above it.
    at: usize,
    up_to: usize,
}

impl SlidingQuantile {
    /// The `share`-quantile of the last `window` numbers. All memory is reserved here.
    pub(crate) fn new(share: f64, window: u16) -> Self {
        let window = usize::from(window.max(1));
        Self {
            share,
            window,
            last: VecDeque::with_capacity(window),
            counts: vec![0; CAP + 1],
            at: 0,
            up_to: 0,
        }
    }

    /// The quantile of the last numbers; absent before the first.
    pub(crate) fn value(&self) -> Option<usize> {
        (!self.last.is_empty()).then_some(self.at)
    }

    /// Adds a number.
    pub(crate) fn push(&mut self, number: f64) {
        let number = (number.max(0.0) as usize).min(CAP);
        if self.last.len() == self.window
            && let Some(oldest) = self.last.pop_front().map(usize::from)
        {
            self.counts[oldest] -= 1;
            self.up_to -= usize::from(oldest <= self.at);
        }
        self.last.push_back(number as u16);
        self.counts[number] += 1;
        self.up_to += usize::from(number <= self.at);
        let needed = rank(self.last.len(), self.share);
        while self.up_to < needed {
            self.at += 1;
            self.up_to += usize::from(self.counts[self.at]);
        }
        while self.up_to - usize::from(self.counts[self.at]) >= needed {
            self.up_to -= usize::from(self.counts[self.at]);
            self.at -= 1;
        }
    }

    /// Removes all numbers.
    pub(crate) fn clear(&mut self) {
        self.last.clear();
        self.counts.fill(0);
        (self.at, self.up_to) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equals_a_sort(share in 0.0..1.0_f64, window in 1_u16..40, numbers in prop::collection::vec(0_u16..1300, 1..200)) {
            let mut quantile = SlidingQuantile::new(share, window);
            prop_assert_eq!(quantile.value(), None);
            for end in 1..=numbers.len() {
                quantile.push(f64::from(numbers[end - 1]));
                let mut last = numbers[end.saturating_sub(usize::from(window))..end].to_vec();
                last.sort_unstable();
                let rank = ((share * last.len() as f64).ceil() as usize).clamp(1, last.len());
                prop_assert_eq!(quantile.value(), Some(usize::from(last[rank - 1]).min(CAP)));
            }
        }
    }
}
