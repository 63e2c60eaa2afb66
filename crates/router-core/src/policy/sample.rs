//! Random samples: a few candidates out of many, every set equally likely; or one, by weight.

use super::invalid_option::InvalidOption;
use crate::fleet::Candidates;
use crate::ranking::COMPARE_ALL;
use crate::{Rng, WorkerId};

/// The most that can be drawn at once.
const MAX_DRAWN: usize = 8;

/// A few distinct indices out of `0..n`, in ascending order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomSubset {
    places: [usize; MAX_DRAWN],
    len: usize,
}

impl RandomSubset {
    /// Draws `k` of `n` indices, at most eight (Floyd's algorithm: time and random numbers depend on `k` alone).
    pub(crate) fn new(n: usize, k: usize, rng: &mut Rng) -> Self {
        let len = k.min(n).min(MAX_DRAWN);
        let mut drawn = Self { places: [0; MAX_DRAWN], len: 0 };
        for last in n - len..n {
            let place = rng.below(last + 1);
            drawn.places[drawn.len] = if drawn.places().contains(&place) { last } else { place };
            drawn.len += 1;
        }
        drawn.places[..len].sort_unstable();
        drawn
    }

    /// The indices.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places[..self.len]
    }

    /// Passes a number of choices that can be drawn, or 0 for all.
    pub(crate) fn check(option: &'static str, choices: usize) -> Result<(), InvalidOption> {
        let fine = choices == 0 || (2..=MAX_DRAWN).contains(&choices);
        if fine { Ok(()) } else { Err(InvalidOption::must(option, "0, or from 2 to 8", choices)) }
    }
}

/// Tries at a draw that need not look at all candidates.
const TRIES: usize = 64;

/// One candidate at random, with a probability in proportion to its weight, which is at most `most`; absent when all weights are
/// zero.
pub(crate) fn by_weight(
    candidates: Candidates<'_>,
    rng: &mut Rng,
    most: f64,
    weight: impl Fn(WorkerId) -> f64,
) -> Option<WorkerId> {
    let ids = candidates.ids();
    if ids.len() > COMPARE_ALL && most > 0.0 {
        // Each candidate is drawn alike, and accepted by its weight. What is drawn after the last try has the same probabilities.
        for _ in 0..TRIES {
            let id = candidates.id(rng.below(ids.len()));
            if rng.unit_f64() * most < weight(id) {
                return Some(id);
            }
        }
    }
    let total: f64 = ids.iter().map(|&id| weight(id)).sum();
    let mut point = rng.unit_f64() * total;
    let mut chosen = None;
    for &id in ids {
        let weight = weight(id);
        if weight > 0.0 {
            // For a remainder that rounding leaves after the last one.
            chosen = Some(id);
            if point < weight {
                break;
            }
            point -= weight;
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sets_are_equally_likely() {
        let mut rng = Rng::seeded(4);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..10_000 {
            *seen.entry(RandomSubset::new(5, 3, &mut rng).places().to_vec()).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 10);
        assert!(seen.values().all(|n| (880..1120).contains(n)), "{seen:?}");
        assert!(seen.keys().all(|set| set.is_sorted()));
    }

    #[test]
    fn sample_is_at_most_the_population() {
        let mut rng = Rng::seeded(4);
        assert_eq!(RandomSubset::new(2, 3, &mut rng).places(), [0, 1]);
        assert_eq!(RandomSubset::new(100, 9, &mut rng).places().len(), 8);
    }
}
