//! `bucket`: prompts of like length go to one worker, each worker with an equal part of the work.

use super::weight_ranges::WeightRanges;
use super::{InvalidOption, load_terms};
use crate::fleet::Candidates;
use crate::ranking::COMPARE_ALL;
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Event, Policy, Reason, ScoreTerms, SlotMap, Time, WorkerId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Classes of length per doubling; the longest class ends at 2^24 bytes.
const PER_DOUBLING: f64 = 8.0;
const CLASSES: usize = 193;
/// Decay of the byte counts per interval.
const DECAY: f64 = 0.5;
/// Growth factor at which the sums are scaled down, so that they stay finite.
const MOST_GROWTH: f64 = 1e100;

/// The options of [`Bucket`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BucketConfig {
    /// How often, in seconds, the workers' ranges of length are fitted to the prompts that came. Also the time in which
    /// a prompt's bytes fade from the load of its worker. Default 5; 1 and more.
    pub bucket_adjust_interval_secs: u64,
    /// Loads are uneven when the highest exceeds the lowest by more than this many bytes, and by
    /// `balance_rel_threshold` too. Default 64.
    pub balance_abs_threshold: u32,
    /// Loads are uneven when the highest exceeds this many times the lowest, and `balance_abs_threshold` too.
    /// Default 1.5; 0 and more.
    pub balance_rel_threshold: f64,
}

impl Default for BucketConfig {
    fn default() -> Self {
        Self { bucket_adjust_interval_secs: 5, balance_abs_threshold: 64, balance_rel_threshold: 1.5 }
    }
}

/// Gives each worker the prompts of a range of lengths, short ones to the first, so that all ranges hold the same number
/// of bytes for the workers' weights; the least loaded takes over while loads are uneven.
#[derive(Clone, Debug)]
pub struct Bucket {
    config: BucketConfig,
    /// Prompt bytes sent to each worker. Later bytes are scaled up, instead of scaling earlier ones down as they fade.
    sent: SlotMap<f64>,
    /// The time at which a byte counts as 1 in `sent`.
    sent_from: Time,
    present: usize,
    ranges: WeightRanges,
    /// Bytes that came by class of length.
    bytes: [f64; CLASSES],
    /// Share of all bytes that came in prompts of a class or shorter ones; empty before the first fit.
    shares: Option<[f64; CLASSES]>,
    fitted_at: Time,
}

fn class(bytes: u64) -> usize {
    ((PER_DOUBLING * (bytes.max(1) as f64).log2()) as usize).min(CLASSES - 1)
}

impl Bucket {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: BucketConfig) -> Result<Self, InvalidOption> {
        if config.bucket_adjust_interval_secs == 0 {
            return Err(InvalidOption::must("bucket_adjust_interval_secs", "1 or more", 0));
        }
        InvalidOption::check_not_negative("balance_rel_threshold", config.balance_rel_threshold)?;
        Ok(Self {
            config,
            sent: SlotMap::default(),
            sent_from: Time::ZERO,
            present: 0,
            ranges: WeightRanges::default(),
            bytes: [0.0; CLASSES],
            shares: None,
            fitted_at: Time::ZERO,
        })
    }

    /// Factor by which bytes sent at `now` are scaled up in `sent`: e per interval since its beginning.
    fn growth(&self, now: Time) -> f64 {
        (now.secs_since(self.sent_from) / self.config.bucket_adjust_interval_secs as f64).exp()
    }

    /// Recent bytes sent to the worker, given the growth factor of the present.
    fn bytes_on(&self, worker: WorkerId, growth: f64) -> f64 {
        self.sent.get(worker).map_or(0.0, |sent| sent / growth)
    }

    /// Recent bytes sent plus `more`, divided by the weight.
    fn load(&self, w: &WorkerView<'_>, growth: f64, more: u64) -> f64 {
        w.per_weight(self.bytes_on(w.id, growth) + more as f64)
    }

    fn send(&mut self, now: Time, worker: WorkerId, bytes: u64) {
        let growth = self.growth(now);
        if growth > MOST_GROWTH {
            self.sent.iter_mut().for_each(|(_, sent)| *sent /= growth);
            self.sent_from = now;
        }
        let growth = self.growth(now);
        if let Some(sent) = self.sent.get_mut(worker) {
            *sent += bytes as f64 * growth;
        }
        self.bytes[class(bytes)] += bytes as f64;
    }

    fn uneven(&self, candidates: Candidates<'_>, growth: f64) -> bool {
        let weighty = candidates.iter().filter(|w| w.weight() > 0.0);
        let (least, most) = weighty
            .map(|w| self.load(&w, growth, 0))
            .fold((f64::MAX, 0.0_f64), |(least, most), load| (least.min(load), most.max(load)));
        most - least > f64::from(self.config.balance_abs_threshold)
            && most > self.config.balance_rel_threshold * least
    }

    /// The interval that prompts of this length take within all work, ordered from the shortest prompt to the longest.
    fn part(&self, bytes: u64) -> Option<(f64, f64)> {
        let shares = self.shares.as_ref()?;
        let class = class(bytes);
        let before = class.checked_sub(1).map_or(0.0, |shorter| shares[shorter]);
        Some((before, shares[class]))
    }

    /// The worker in whose range a point of the part lies, drawn at random where the part is in several ranges.
    fn owner(&mut self, cx: &mut DecisionContext<'_>, from: f64, to: f64) -> WorkerId {
        if cx.candidates.len() > COMPARE_ALL {
            let point = (from + (to - from) * cx.rng.unit_f64()) * self.ranges.total();
            return self.ranges.owner(point, cx.candidates);
        }
        let weights = cx.candidates.iter().map(|w| w.weight());
        let point = (from + (to - from) * cx.rng.unit_f64()) * weights.sum::<f64>();
        let (mut end, mut owner) = (0.0, cx.candidates.first());
        for w in cx.candidates.iter().filter(|w| w.weight() > 0.0) {
            // For prompts longer than any seen, and for a remainder that rounding leaves after the last worker.
            owner = w.id;
            end += w.weight();
            if point < end {
                break;
            }
        }
        owner
    }

    fn terms(&self, w: &WorkerView<'_>, growth: f64) -> ScoreTerms {
        load_terms(w).and("recent_bytes", self.bytes_on(w.id, growth))
    }

    fn fit(&mut self, now: Time) {
        let interval = Duration::from_secs(self.config.bucket_adjust_interval_secs);
        if now.since(self.fitted_at) < interval {
            return;
        }
        self.fitted_at = now;
        let total: f64 = self.bytes.iter().sum();
        // Without new prompts the last fit stays.
        if total >= 1.0 {
            let mut sum = 0.0;
            self.shares = Some(self.bytes.map(|bytes| {
                sum += bytes;
                (sum / total).min(1.0)
            }));
        }
        self.bytes.iter_mut().for_each(|bytes| *bytes *= DECAY);
    }
}

impl Policy for Bucket {
    fn name(&self) -> &'static str {
        "bucket"
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let (growth, bytes) = (self.growth(cx.now), cx.request.prompt_bytes);
        let weighty = cx.candidates.iter().any(|w| w.weight() > 0.0);
        let part = self.part(bytes).filter(|_| weighty);
        let reason = if part.is_none() { Reason::Fallback } else { Reason::LoadImbalance };
        let owner = part.map(|(from, to)| self.owner(&mut cx, from, to));
        let mut cx = cx.shortlist(owner.into_iter());
        match owner {
            Some(owner) if !self.uneven(cx.candidates, growth) => {
                cx.keyed(owner, Reason::LengthBucket, |w| self.terms(w, growth))
            }
            _ => cx.lowest(reason, |w| self.load(w, growth, bytes), |w| self.terms(w, growth)),
        }
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        self.ranges.observe(event);
        match event {
            Event::Joined { worker, .. } => {
                self.sent.insert(*worker, 0.0);
                self.present += 1;
            }
            Event::Left(worker) => {
                self.present -= usize::from(self.sent.remove(*worker).is_some());
                if self.present == 0 {
                    self.bytes = [0.0; CLASSES];
                    self.shares = None;
                }
            }
            Event::Dispatched { worker, request } => self.send(now, *worker, request.prompt_bytes),
            _ => (),
        }
        self.fit(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{RequestFeatures, WorkerInfo};

    fn bench(balance_rel_threshold: f64, weights: &[f64]) -> TestBench {
        let config = BucketConfig { balance_rel_threshold, ..BucketConfig::default() };
        let mut bench = TestBench::new(Box::new(Bucket::new(config).unwrap()), 0);
        for weight in weights {
            bench.join_as(WorkerInfo { weight: *weight, ..WorkerInfo::new("http://worker") });
        }
        bench
    }

    fn prompt(prompt_bytes: u64) -> RequestFeatures<'static> {
        RequestFeatures { prompt_bytes, ..RequestFeatures::default() }
    }

    /// A minute of many short prompts and as many bytes in few long ones.
    fn busy(bench: &mut TestBench) {
        for i in 0..1200 {
            bench.now = Time::from_secs_f64(0.05 * f64::from(i));
            bench.send_as(&prompt(if i % 11 == 10 { 10_000 } else { 1000 }));
            bench.finish_all();
        }
    }

    fn counts(bench: &mut TestBench, prompt_bytes: u64) -> Vec<usize> {
        let sent: Vec<_> = (0..1000).map(|_| bench.send_as(&prompt(prompt_bytes))).collect();
        (0..bench.ids.len()).map(|w| sent.iter().filter(|&&s| s == w).count()).collect()
    }

    #[test]
    fn length_ranges_hold_equal_bytes() {
        let mut bench = bench(1e9, &[1.0, 1.0]);
        bench.send_as(&prompt(1000));
        assert_eq!(bench.last_reason(), Reason::Fallback, "nothing is known of the lengths yet");
        busy(&mut bench);
        assert_eq!((counts(&mut bench, 50)[0], counts(&mut bench, 1 << 25)[1]), (1000, 1000));
        assert_eq!(bench.last_reason(), Reason::LengthBucket);
        // Prompts of 1000 bytes are half of all bytes, but for what came since the ranges were fitted.
        assert!(counts(&mut bench, 1000)[0] > 950 && counts(&mut bench, 10_000)[1] > 950);
    }

    #[test]
    fn frequent_length_is_shared_by_weight() {
        let mut bench = bench(1e9, &[1.0, 1.0, 2.0, 0.0]);
        busy(&mut bench);
        let short = counts(&mut bench, 1000);
        assert!((430..570).contains(&short[0]) && (430..570).contains(&short[1]), "{short:?}");
        let long = counts(&mut bench, 10_000);
        assert!(long[2] > 950 && long[3] == 0, "{long:?}");
    }

    #[test]
    fn least_loaded_while_loads_are_uneven() {
        let mut bench = bench(1.5, &[1.0, 1.0]);
        busy(&mut bench);
        bench.now = Time::from_secs_f64(1000.0);
        assert_eq!(bench.send_as(&prompt(1000)), 0);
        assert_eq!(bench.last_reason(), Reason::LengthBucket);
        assert_eq!(bench.send_as(&prompt(1000)), 1, "1000 bytes against none");
        assert_eq!(bench.last_reason(), Reason::LoadImbalance);
    }

    #[test]
    fn bad_options_are_named() {
        let config = BucketConfig { bucket_adjust_interval_secs: 0, ..BucketConfig::default() };
        let error = Bucket::new(config).unwrap_err();
        assert_eq!(error.to_string(), "`bucket_adjust_interval_secs` must be 1 or more, not 0");
    }
}
