//! `lmetric`: the product of the prompt tokens to be computed and the size of the batch.

use super::InvalidOption;
use super::speeds::DecodeSpeeds;
use crate::prefix_index::{PrefixIndex, PrefixMatches, PromptTokens};
use crate::worker_view::WorkerView;
use crate::{
    Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, RequestFeatures, ScoreTerms, Time,
    WorkerId,
};
use serde::{Deserialize, Serialize};

/// The options of [`LMetric`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LMetricConfig {
    /// Tokens that a prompt counts for at least, however much of it is cached, so that the size of the batch counts.
    /// Default 32, a block of the index; 1 and more.
    pub min_new_tokens: u32,
    /// Whether the product is multiplied by the seconds per token that the worker takes. Default false.
    pub speed_weighted: bool,
    /// Most memory that the index of prompt prefixes takes, in bytes; 4096 to 16 GiB. Default none: 256 KiB for each worker, rounded
    /// up, at least 8 MiB and at most 1 GiB.
    pub max_tree_size: Option<usize>,
}

impl Default for LMetricConfig {
    fn default() -> Self {
        Self { min_new_tokens: 32, speed_weighted: false, max_tree_size: None }
    }
}

/// Sends a prompt where the tokens that it leaves to be computed, times the requests in flight with it, are fewest.
#[derive(Debug)]
pub struct LMetric {
    config: LMetricConfig,
    index: PrefixIndex,
    matches: PrefixMatches,
    speeds: DecodeSpeeds,
}

impl LMetric {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: LMetricConfig) -> Result<Self, InvalidOption> {
        if config.min_new_tokens == 0 {
            return Err(InvalidOption::must("min_new_tokens", "1 or more", 0));
        }
        InvalidOption::check_tree_size(config.max_tree_size)?;
        let index = PrefixIndex::new(config.max_tree_size);
        Ok(Self { config, index, matches: PrefixMatches::default(), speeds: DecodeSpeeds::default() })
    }

    /// Prompt tokens that the worker was not sent before.
    fn new_tokens(&self, w: &WorkerView<'_>, request: &RequestFeatures<'_>) -> f64 {
        let new = request.prompt_bytes as f64 - self.known_bytes(w.id, request);
        request.tokens_or_guess(new).max(f64::from(self.config.min_new_tokens))
    }

    /// Bytes of the prompt that the worker was sent before.
    fn known_bytes(&self, worker: WorkerId, request: &RequestFeatures<'_>) -> f64 {
        f64::from(self.index.blocks(&self.matches, worker)) * f64::from(request.prefix_block_bytes)
    }

    /// Seconds per token, or 1 where speed does not count or no worker's is known.
    fn speed(&self, w: &WorkerView<'_>, now: Time) -> f64 {
        let known = self.config.speed_weighted.then(|| self.speeds.secs_per_token(w.id, now));
        known.flatten().unwrap_or(1.0)
    }
}

impl Policy for LMetric {
    fn name(&self) -> &'static str {
        "lmetric"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { prefix_hashes: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        self.index.lookup(cx.request.prefix, &mut self.matches);
        let mut cx = cx.shortlist(self.index.holders(&self.matches));
        let (this, now, request) = (&*self, cx.now, cx.request);
        let decision = cx.lowest(
            Reason::LowestCost,
            |w| this.new_tokens(w, request) * w.next_load() * this.speed(w, now),
            |w| {
                let batch = f64::from(w.in_flight) + 1.0;
                let terms = ScoreTerms::new([
                    ("new_tokens", this.new_tokens(w, request)),
                    ("batch", batch),
                    ("weight", w.weight()),
                ]);
                if this.config.speed_weighted {
                    terms.and("secs_per_token", this.speed(w, now))
                } else {
                    terms
                }
            },
        );
        let known = this.known_bytes(decision.worker, request).min(request.prompt_bytes as f64);
        decision.predicting_cached(Some(request.tokens_or_guess(known)))
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.index.observe(event);
        if let Event::Dispatched { worker, request } = event {
            self.index.dispatched(*worker, request, PromptTokens::of(request));
        }
        if self.config.speed_weighted {
            self.speeds.observe(event);
        }
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        report("prefix_blocks", self.index.len() as f64);
        report("tree_size", self.index.memory_bytes() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerInfo;
    use crate::testing::TestBench;

    const SMALL: LMetricConfig =
        LMetricConfig { min_new_tokens: 32, speed_weighted: false, max_tree_size: Some(1 << 16) };

    fn bench(config: LMetricConfig, workers: usize) -> TestBench {
        TestBench::new(Box::new(LMetric::new(config).unwrap()), workers)
    }

    /// A prompt of blocks of 128 bytes, or 32 tokens.
    fn prompt(prefix: &[u64]) -> RequestFeatures<'_> {
        RequestFeatures {
            prefix,
            prefix_block_bytes: 128,
            prompt_bytes: 128 * prefix.len() as u64,
            ..RequestFeatures::default()
        }
    }

    #[test]
    fn cached_tokens_offset_requests_in_flight() {
        let mut bench = bench(SMALL, 2);
        let known: Vec<u64> = (0..10).collect();
        bench.force(0, &prompt(&known));
        // Of 320 tokens worker 0 misses 32 and has n in flight: 32 (n + 1) against 320.
        bench.hold(0, 7);
        assert_eq!(bench.send_as(&prompt(&known)), 0);
        bench.hold(0, 1);
        assert_eq!(bench.send_as(&prompt(&known)), 1);
        assert_eq!(bench.last_reason(), Reason::LowestCost);
    }

    #[test]
    fn fully_cached_prompt_still_avoids_load() {
        let mut bench = bench(SMALL, 2);
        for worker in [0, 1] {
            bench.force(worker, &prompt(&[1, 2, 3]));
        }
        bench.hold(0, 3);
        assert_eq!(bench.send_as(&prompt(&[1, 2, 3])), 1, "a factor of 0 would have made them alike");
    }

    #[test]
    fn weight_and_speed_count() {
        let mut bench = bench(SMALL, 1);
        bench.join_as(WorkerInfo { weight: 3.0, ..WorkerInfo::new("http://big") });
        let sent = bench.send_many(40);
        assert_eq!(sent.iter().filter(|&&w| w == 1).count(), 30);
        let mut bench = self::bench(LMetricConfig { speed_weighted: true, ..SMALL }, 2);
        bench.now = Time::from_secs_f64(9.0);
        bench.complete(0, 4.0, 100);
        bench.complete(1, 1.0, 100);
        let sent = bench.send_many(20);
        assert_eq!(sent.iter().filter(|&&w| w == 1).count(), 16);
    }

    #[test]
    fn bad_options_are_named() {
        let error = LMetric::new(LMetricConfig { max_tree_size: Some(1), ..SMALL }).unwrap_err();
        assert_eq!(error.to_string(), "`max_tree_size` must be from 4096 to 17179869184, not 1");
    }
}
