//! How much the demand of single steps differs from its mean, and how much must be there for it.

use super::load_levels::MissCurve;

/// Width of a bin of the ratio to the mean, as a factor, and the ratio of the first bin.
const BIN_FACTOR: f64 = 1.15;
const FIRST_RATIO: f64 = 0.1;
const BINS: usize = 44;
/// What is left of a request after the next step: the last hour or so counts.
const MEMORY: f64 = 0.997;
/// Requests before the spread is known.
const FIRST_REQUESTS: f64 = 100.0;
/// Halvings of the interval in which the answer lies.
const HALVINGS: usize = 20;

/// The requests by the demand of the step in which they came, relative to the mean demand of that time.
#[derive(Clone, Debug)]
pub(super) struct DemandSpread {
    /// Requests in each bin, decayed.
    bins: [f64; BINS],
    seen: f64,
}

impl Default for DemandSpread {
    fn default() -> Self {
        Self { bins: [0.0; BINS], seen: 0.0 }
    }
}

impl DemandSpread {
    /// Learns that so many requests came in a step with this many times the usual demand.
    pub(super) fn learn(&mut self, ratio: f64, requests: u32) {
        self.bins.iter_mut().for_each(|bin| *bin *= MEMORY);
        self.seen += f64::from(requests);
        if requests > 0 && ratio > 0.0 {
            let bin = (ratio / FIRST_RATIO).ln() / BIN_FACTOR.ln();
            self.bins[(bin.max(0.0) as usize).min(BINS - 1)] += f64::from(requests);
        }
    }

    /// How many times the mean demand must be there so that a share `objective` of the requests misses the SLO; absent before
    /// enough was seen.
    pub(super) fn provision(&self, objective: f64, curve: &MissCurve) -> Option<f64> {
        let all: f64 = self.bins.iter().sum();
        if self.seen < FIRST_REQUESTS || all <= 0.0 {
            return None;
        }
        let misses = |capacity: f64| {
            let of_bin = self.bins.iter().enumerate().filter(|(_, requests)| **requests > 0.0);
            of_bin.map(|(bin, requests)| requests * curve.at(ratio(bin) / capacity)).sum::<f64>() / all
        };
        // The least lets the highest demand be 1.6 times what is there, the most lets it be a twentieth.
        let (mut least, mut most) = (0.05_f64.ln(), (20.0 * ratio(BINS)).ln());
        for _ in 0..HALVINGS {
            let middle = 0.5 * (least + most);
            if misses(middle.exp()) > objective { least = middle } else { most = middle }
        }
        Some(most.exp())
    }
}

/// The middle of a bin.
fn ratio(bin: usize) -> f64 {
    FIRST_RATIO * BIN_FACTOR.powf(bin as f64 + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::load_levels::LoadLevels;

    fn curve() -> MissCurve {
        LoadLevels::default().curve(|load| if load > 0.8 { 1.0 } else { 0.0 })
    }

    #[test]
    fn even_demand_needs_its_mean_at_the_limit() {
        let mut spread = DemandSpread::default();
        (0..50).for_each(|_| spread.learn(1.0, 10));
        let needed = spread.provision(0.01, &curve()).unwrap();
        assert!((1.1..1.5).contains(&needed), "{needed}");
    }

    #[test]
    fn bursts_need_room_as_far_as_their_requests_count() {
        let mut spread = DemandSpread::default();
        for step in 0..300 {
            // One step in ten has eight times the mean.
            let (ratio, requests) = if step % 10 == 0 { (8.0, 80) } else { (0.25, 2) };
            spread.learn(ratio, requests);
        }
        let strict = spread.provision(0.01, &curve()).unwrap();
        assert!((8.0..12.0).contains(&strict), "{strict}");
        let lax = spread.provision(0.85, &curve()).unwrap();
        assert!(lax < 1.0, "{lax}");
    }

    #[test]
    fn few_requests_tell_nothing() {
        let mut spread = DemandSpread::default();
        spread.learn(1.0, 99);
        assert_eq!(spread.provision(0.01, &curve()), None);
    }
}
