//! `prefix_hash`: the head of a prompt belongs to one worker, by hash, unless that one is overloaded.

use super::ring::HashRing;
use super::weight_ranges::WeightRanges;
use super::{InvalidOption, load_terms};
use crate::fleet::Candidates;
use crate::ranking::COMPARE_ALL;
use crate::{Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, RequestFeatures, Time, WorkerId};
use serde::{Deserialize, Serialize};

/// Bytes of prompt that stand for a token, as in smg.
const BYTES_PER_TOKEN: u64 = 4;

/// The options of [`PrefixHash`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixHashConfig {
    /// How many tokens of the prompt, at four bytes each, make its head. Default 256; 1 and more.
    pub prefix_token_count: u32,
    /// A worker is overloaded when its load exceeds this many times the mean, and `balance_abs_threshold` too.
    /// Default 1.25; 1 and more.
    pub load_factor: f64,
    /// A worker is overloaded when its load exceeds the mean by more requests than this, and `load_factor` too.
    /// Default 10.
    pub balance_abs_threshold: u32,
}

impl Default for PrefixHashConfig {
    fn default() -> Self {
        Self { prefix_token_count: 256, load_factor: 1.25, balance_abs_threshold: 10 }
    }
}

/// Sends prompts that begin alike to one worker while its load is near the mean, and to the least loaded otherwise.
#[derive(Clone, Debug)]
pub struct PrefixHash {
    config: PrefixHashConfig,
    ring: HashRing,
    ranges: WeightRanges,
}

impl PrefixHash {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: PrefixHashConfig) -> Result<Self, InvalidOption> {
        if config.prefix_token_count == 0 {
            return Err(InvalidOption::must("prefix_token_count", "1 or more", 0));
        }
        if !(config.load_factor.is_finite() && config.load_factor >= 1.0) {
            return Err(InvalidOption::must("load_factor", "1 or more", config.load_factor));
        }
        Ok(Self { config, ring: HashRing::default(), ranges: WeightRanges::default() })
    }

    /// The hash that decides: that of the routing key, or else the head of its prompt. A hash stands for all blocks up to
    /// its own, so the last one within the head is that of the head.
    fn key(&self, request: &RequestFeatures<'_>) -> Option<u64> {
        let head = u64::from(self.config.prefix_token_count) * BYTES_PER_TOKEN;
        let blocks = head.div_ceil(u64::from(request.prefix_block_bytes.max(1)));
        let blocks = request.prefix.len().min(usize::try_from(blocks).unwrap_or(usize::MAX));
        request.routing_key.or_else(|| request.prefix[..blocks].last().copied())
    }

    /// Whether the owner has more than its share of what is in flight, the new request counted. In a large fleet the share is that
    /// of all workers, candidates or not.
    fn overloaded(&mut self, owner: WorkerId, candidates: Candidates<'_>) -> bool {
        let (mut requests, mut weight) = (1.0, 0.0);
        if candidates.len() > COMPARE_ALL {
            (requests, weight) = (1.0 + candidates.fleet_in_flight() as f64, self.ranges.total());
        } else {
            for w in candidates.iter() {
                requests += f64::from(w.in_flight);
                weight += w.weight();
            }
        }
        let mean = requests / weight;
        let most = (mean * self.config.load_factor).max(mean + f64::from(self.config.balance_abs_threshold));
        candidates.get(owner).is_some_and(|w| w.per_weight(f64::from(w.in_flight)) > most)
    }
}

impl Policy for PrefixHash {
    fn name(&self) -> &'static str {
        "prefix_hash"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { prefix_hashes: true, routing_key: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let owner = self.key(cx.request).and_then(|key| self.ring.owner(key, cx.candidates));
        match owner {
            None => cx.least_loaded(Reason::Fallback, load_terms),
            Some(owner) if self.overloaded(owner, cx.candidates) => {
                cx.least_loaded(Reason::LoadImbalance, load_terms)
            }
            Some(owner) => cx.keyed(owner, Reason::KeyAffinity, load_terms),
        }
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.ring.observe(event);
        self.ranges.observe(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;

    fn bench(workers: usize) -> TestBench {
        TestBench::new(Box::new(PrefixHash::new(PrefixHashConfig::default()).unwrap()), workers)
    }

    fn prompt(prefix: &[u64]) -> RequestFeatures<'_> {
        RequestFeatures { prefix, prefix_block_bytes: 128, ..RequestFeatures::default() }
    }

    #[test]
    fn equal_heads_go_to_one_worker() {
        let mut bench = bench(4);
        // 256 tokens are 8 blocks; what differs after those does not count.
        let head = [1, 2, 3, 4, 5, 6, 7, 8];
        let first = bench.send_as(&prompt(&head));
        assert_eq!(bench.last_reason(), Reason::KeyAffinity);
        for tail in 0..8 {
            let whole: Vec<u64> = head.iter().copied().chain([100 + tail, 200 + tail]).collect();
            assert_eq!(bench.send_as(&prompt(&whole)), first);
        }
    }

    #[test]
    fn routing_key_takes_precedence_over_prompt() {
        let mut bench = bench(4);
        let keyed = |prefix| RequestFeatures { routing_key: Some(9), ..prompt(prefix) };
        let first = bench.send_as(&keyed(&[1]));
        assert!([[2], [3], [4], [5]].iter().all(|p| bench.send_as(&keyed(p)) == first));
    }

    #[test]
    fn overloaded_owner_is_spared() {
        let mut bench = bench(4);
        let owner = bench.send_as(&prompt(&[7]));
        // With 14 in all the mean of four is 3.75: 13 is within 10 of it, 14 no more.
        bench.hold(owner, 12);
        assert_eq!(bench.send_as(&prompt(&[7])), owner);
        assert_ne!(bench.send_as(&prompt(&[7])), owner);
        assert_eq!(bench.last_reason(), Reason::LoadImbalance);
    }

    #[test]
    fn short_prompt_goes_to_least_loaded() {
        let mut bench = bench(2);
        bench.hold(0, 1);
        assert_eq!(bench.send_as(&prompt(&[])), 1);
        assert_eq!(bench.last_reason(), Reason::Fallback);
    }

    #[test]
    fn bad_options_are_named() {
        let config = PrefixHashConfig { load_factor: 0.5, ..PrefixHashConfig::default() };
        let error = PrefixHash::new(config).unwrap_err();
        assert_eq!(error.to_string(), "`load_factor` must be 1 or more, not 0.5");
    }
}
