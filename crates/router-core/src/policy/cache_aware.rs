//! `cache_aware`: follow the prefix cache while loads are even, the least load otherwise.

use super::{InvalidOption, load_terms};
use crate::prefix_index::{PrefixIndex, PrefixMatches, PromptTokens};
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, RequestFeatures, Time};
use serde::{Deserialize, Serialize};

/// The options of [`CacheAware`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheAwareConfig {
    /// Affinity counts when more than this share of the prompt is matched. Default 0.3; 0 to 1.
    pub cache_threshold: f64,
    /// Loads are uneven when the highest exceeds the lowest by more than this many requests, and by
    /// `balance_rel_threshold` too. Default 64.
    pub balance_abs_threshold: u32,
    /// Loads are uneven when the highest exceeds this many times the lowest, and `balance_abs_threshold` too.
    /// Default 1.5; 0 and more.
    pub balance_rel_threshold: f64,
    /// Without effect: the index evicts what was not used for longest when it is full. Accepted because other routers have
    /// it. Default 60; 1 and more.
    pub eviction_interval_secs: u64,
    /// Most memory that the index of prompt prefixes takes, in bytes; 4096 to 16 GiB. Default none: 256 KiB for each worker, rounded
    /// up, at least 8 MiB and at most 1 GiB.
    pub max_tree_size: Option<usize>,
}

impl Default for CacheAwareConfig {
    fn default() -> Self {
        Self {
            cache_threshold: 0.3,
            balance_abs_threshold: 64,
            balance_rel_threshold: 1.5,
            eviction_interval_secs: 60,
            max_tree_size: None,
        }
    }
}

impl CacheAwareConfig {
    fn check(&self) -> Result<(), InvalidOption> {
        if !(0.0..=1.0).contains(&self.cache_threshold) {
            return Err(InvalidOption::must("cache_threshold", "from 0 to 1", self.cache_threshold));
        }
        InvalidOption::check_not_negative("balance_rel_threshold", self.balance_rel_threshold)?;
        if self.eviction_interval_secs == 0 {
            return Err(InvalidOption::must("eviction_interval_secs", "1 or more", 0));
        }
        InvalidOption::check_tree_size(self.max_tree_size)
    }
}

/// Sends a prompt to the worker that was sent the longest part of it before, unless loads are too uneven.
///
/// Load is the number of requests in flight for the weight. When loads are uneven, or too little of the prompt is known, the
/// least loaded worker is chosen; ties are broken at random.
#[derive(Debug)]
pub struct CacheAware {
    config: CacheAwareConfig,
    index: PrefixIndex,
    matches: PrefixMatches,
}

impl CacheAware {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: CacheAwareConfig) -> Result<Self, InvalidOption> {
        config.check()?;
        let index = PrefixIndex::new(config.max_tree_size);
        Ok(Self { config, index, matches: PrefixMatches::default() })
    }

    /// The index of what the workers are assumed to hold.
    pub fn index(&self) -> &PrefixIndex {
        &self.index
    }

    fn uneven(&self, cx: &DecisionContext<'_>) -> bool {
        let loads = cx.candidates.iter().filter(|w| w.weight() > 0.0).map(|w| load(&w));
        let (least, most) =
            loads.fold((f64::MAX, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
        most - least > f64::from(self.config.balance_abs_threshold)
            && most > self.config.balance_rel_threshold * least
    }

    /// The share of the prompt that `blocks` blocks make.
    fn ratio(request: &RequestFeatures<'_>, blocks: u32) -> f64 {
        let bytes = f64::from(blocks) * f64::from(request.prefix_block_bytes);
        if request.prompt_bytes == 0 { 0.0 } else { (bytes / request.prompt_bytes as f64).min(1.0) }
    }
}

/// Requests in flight for the weight.
fn load(w: &WorkerView<'_>) -> f64 {
    w.per_weight(f64::from(w.in_flight))
}

impl Policy for CacheAware {
    fn name(&self) -> &'static str {
        "cache_aware"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { prefix_hashes: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let request = cx.request;
        self.index.lookup(request.prefix, &mut self.matches);
        let mut cx = cx.shortlist(self.index.holders(&self.matches));
        let blocks = |id| self.index.blocks(&self.matches, id);
        let predicting = |decision: Decision| {
            let known = Self::ratio(request, blocks(decision.worker)) * request.prompt_bytes as f64;
            decision.predicting_cached(request.tokens_in(known))
        };
        if self.uneven(&cx) {
            return predicting(cx.least_loaded(Reason::LoadImbalance, load_terms));
        }
        let longest = cx.candidates.ids().iter().map(|&id| blocks(id)).max().unwrap_or(0);
        let with_match = |w: &WorkerView<'_>| {
            let blocks = blocks(w.id);
            load_terms(w)
                .and("matched_blocks", f64::from(blocks))
                .and("match_ratio", Self::ratio(request, blocks))
        };
        predicting(if Self::ratio(request, longest) > self.config.cache_threshold {
            // Blocks, not ratios, are compared: a ratio is capped at 1 and would make ties of unequal matches.
            let missing = |w: &WorkerView<'_>| f64::from(longest - blocks(w.id));
            cx.lowest(Reason::PrefixAffinity, missing, with_match)
        } else {
            cx.least_loaded(Reason::LoadBased, with_match)
        })
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        report("prefix_blocks", self.index.len() as f64);
        report("tree_size", self.index.memory_bytes() as f64);
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.index.observe(event);
        if let Event::Dispatched { worker, request } = event {
            self.index.dispatched(*worker, request, PromptTokens::of(request));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;

    fn bench(config: CacheAwareConfig, workers: usize) -> TestBench {
        TestBench::new(Box::new(CacheAware::new(config).unwrap()), workers)
    }

    /// A prompt of blocks of 64 bytes.
    fn prompt(prefix: &[u64]) -> RequestFeatures<'_> {
        RequestFeatures {
            prefix,
            prefix_block_bytes: 64,
            prompt_bytes: 64 * prefix.len() as u64,
            ..RequestFeatures::default()
        }
    }

    #[test]
    fn longest_prefix_wins_over_idle_worker() {
        let mut bench = bench(CacheAwareConfig::default(), 3);
        bench.force(0, &prompt(&[1, 2]));
        bench.force(1, &prompt(&[1, 2, 3, 4]));
        assert_eq!(bench.send_as(&prompt(&[1, 2, 3, 4, 5])), 1);
        assert_eq!(bench.last_reason(), Reason::PrefixAffinity);
    }

    #[test]
    fn short_match_is_ignored() {
        let mut bench = bench(CacheAwareConfig::default(), 2);
        bench.force(0, &prompt(&[1, 2, 3]));
        // 3 of 10 blocks is exactly the threshold, which must be exceeded.
        assert_eq!(bench.send_as(&prompt(&[1, 2, 3, 14, 15, 16, 17, 18, 19, 20])), 1);
        assert_eq!(bench.last_reason(), Reason::LoadBased);
    }

    #[test]
    fn affinity_yields_when_loads_are_uneven() {
        let config = CacheAwareConfig { balance_abs_threshold: 4, ..CacheAwareConfig::default() };
        let mut bench = bench(config, 2);
        bench.force(0, &prompt(&[1, 2]));
        bench.hold(0, 3);
        assert_eq!(bench.send_as(&prompt(&[1, 2])), 0, "4 - 0 is not more than 4");
        assert_eq!(bench.send_as(&prompt(&[1, 2])), 1);
        assert_eq!(bench.last_reason(), Reason::LoadImbalance);
        bench.hold(1, 19);
        bench.hold(0, 22);
        // 27 to 20 is uneven in number, but not more than 1.5 times; both hold the prompt.
        bench.send_as(&prompt(&[1, 2]));
        assert_eq!(bench.last_reason(), Reason::PrefixAffinity);
    }

    #[test]
    fn the_weight_says_how_much_is_much() {
        let config = CacheAwareConfig { balance_abs_threshold: 4, ..CacheAwareConfig::default() };
        let mut bench = bench(config, 1);
        bench.join_as(crate::WorkerInfo { weight: 3.0, ..crate::WorkerInfo::new("http://big") });
        let sent: Vec<_> = (0..40).map(|i| bench.send_as(&prompt(&[1000 + i]))).collect();
        assert_eq!(sent.iter().filter(|&&w| w == 1).count(), 30);
        assert_eq!(bench.send_as(&prompt(&[1000 + 39])), sent[39], "10 to 30 is even");
        assert_eq!(bench.last_reason(), Reason::PrefixAffinity);
    }

    #[test]
    fn unknown_prompts_are_spread_evenly() {
        let mut bench = bench(CacheAwareConfig::default(), 4);
        let mut wins = [0_u32; 4];
        for i in 0..2000 {
            wins[bench.send_as(&prompt(&[1_000_000 + i]))] += 1;
            bench.finish_all();
        }
        assert!(wins.iter().all(|w| (420..580).contains(w)), "{wins:?}");
    }

    #[test]
    fn retry_on_another_worker_is_indexed() {
        let mut bench = bench(CacheAwareConfig::default(), 2);
        bench.force(1, &prompt(&[7, 8]));
        bench.finish_all();
        assert_eq!(bench.send_as(&prompt(&[7, 8, 9])), 1);
    }

    #[test]
    fn what_a_full_cache_gave_up_draws_nothing() {
        let mut bench = bench(CacheAwareConfig::default(), 0);
        for url in ["http://a", "http://b"] {
            bench.join_as(crate::WorkerInfo { max_total_tokens: Some(1000), ..crate::WorkerInfo::new(url) });
        }
        let prefix = |first: u64| (first..first + 40).collect::<Vec<_>>();
        bench.force(0, &prompt(&prefix(0)));
        bench.finish_all();
        assert_eq!(bench.send_as(&prompt(&prefix(0))), 0);
        assert_eq!(bench.last_reason(), Reason::PrefixAffinity);
        // 640 tokens each: there is room for one and a half.
        bench.force(0, &prompt(&prefix(100)));
        bench.force(0, &prompt(&prefix(200)));
        bench.finish_all();
        bench.hold(0, 1);
        assert_eq!(bench.send_as(&prompt(&prefix(0))), 1);
        assert_eq!(bench.last_reason(), Reason::LoadBased);
    }

    #[test]
    fn full_index_stays_within_its_bound() {
        let mut policy =
            CacheAware::new(CacheAwareConfig { max_tree_size: Some(1 << 20), ..CacheAwareConfig::default() })
                .unwrap();
        let bound = 1 << 20;
        let worker = crate::WorkerId::new(0, 1);
        let info = crate::WorkerInfo::new("http://a");
        policy.observe(Time::ZERO, &Event::Joined { worker, info: &info });
        for i in 0..1_000_000_u64 {
            let hashes = [2 * i, 2 * i + 1];
            policy.observe(Time::ZERO, &Event::Dispatched { worker, request: &prompt(&hashes) });
        }
        assert!(policy.index().memory_bytes() <= bound, "{}", policy.index().memory_bytes());
        assert!(policy.index().memory_bytes() > bound * 9 / 10);
    }
}
