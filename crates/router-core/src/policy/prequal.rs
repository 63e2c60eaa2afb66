//! `prequal`: the fastest of those that do not have many requests in flight; the fewest in flight when all have many.

use super::quantile::SlidingQuantile;
use super::speeds::secs_and_tokens;
use super::{BestCandidate, InvalidOption, load_terms};
use crate::worker_view::WorkerView;
use crate::{Completion, Decision, DecisionContext, Event, Policy, Reason, SlotMap, Time, WorkerId};
use serde::{Deserialize, Serialize};

/// How many numbers of requests in flight the quantile is taken of.
const WINDOW: u16 = 256;
/// Latencies are kept apart by requests in flight, a doubling each.
const LEVELS: usize = 12;
/// Weight of each new response in the average of its level.
const GAIN: f64 = 0.2;
/// Extra cost of a hot worker over any cold one, in seconds per token.
const HOT: f64 = 1e6;

/// The options of [`Prequal`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrequalConfig {
    /// A worker is hot when its requests in flight exceed this quantile of recent values over all workers.
    /// Default 0.84, about 2^-0.25; 0 to 1. At 0 requests in flight decide alone, at 1 nearly always latency.
    pub rif_quantile: f64,
    /// A latency observed longer ago than this many seconds is not used. Default 30; above 0.
    pub max_age_secs: f64,
}

impl Default for PrequalConfig {
    fn default() -> Self {
        Self { rif_quantile: 0.84, max_age_secs: 30.0 }
    }
}

/// Seconds per token at one level of requests in flight, and when last seen.
type LatencySample = Option<(f64, Time)>;

/// What is known about one worker.
#[derive(Clone, Copy, Debug, Default)]
struct WorkerSamples {
    in_flight: u32,
    weight: f64,
    latencies: [LatencySample; LEVELS],
}

/// Hot-cold lexicographic choice: lowest latency among cold workers, lowest requests in flight when all are hot.
///
/// Requests in flight are this router's own exact counts, so nothing is probed.
#[derive(Clone, Debug)]
pub struct Prequal {
    config: PrequalConfig,
    workers: SlotMap<WorkerSamples>,
    /// The workers in id order, and which of them is looked at next.
    ids: Vec<WorkerId>,
    next: usize,
    quantile: SlidingQuantile,
}

fn level(in_flight: f64) -> usize {
    ((in_flight.max(0.0) as u64 + 1).ilog2() as usize).min(LEVELS - 1)
}

impl Prequal {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: PrequalConfig) -> Result<Self, InvalidOption> {
        if !(0.0..=1.0).contains(&config.rif_quantile) {
            return Err(InvalidOption::must("rif_quantile", "from 0 to 1", config.rif_quantile));
        }
        InvalidOption::check_positive("max_age_secs", config.max_age_secs)?;
        let quantile = SlidingQuantile::new(config.rif_quantile, WINDOW);
        Ok(Self { config, workers: SlotMap::default(), ids: Vec::new(), next: 0, quantile })
    }

    /// Requests in flight for the weight; the largest float for a worker of weight 0.
    fn rif(w: &WorkerView<'_>) -> f64 {
        w.per_weight(f64::from(w.in_flight)).min(HOT)
    }

    fn is_hot(&self, w: &WorkerView<'_>) -> bool {
        self.quantile.value().is_some_and(|most| Self::rif(w) > most as f64)
    }

    /// Seconds per token as last seen near this many requests in flight.
    fn latency(&self, w: &WorkerView<'_>, now: Time) -> Option<f64> {
        let latencies = &self.workers.get(w.id)?.latencies;
        let fresh = |level: usize| {
            let (secs, at) = (*latencies.get(level)?)?;
            (now.secs_since(at) <= self.config.max_age_secs).then_some(secs)
        };
        let here = level(f64::from(w.in_flight));
        (0..LEVELS).find_map(|far| fresh(here.wrapping_sub(far)).or_else(|| fresh(here + far)))
    }

    /// A worker without a recent response is preferred over all other cold ones, so that it is tried, until it is hot.
    fn cost(&self, w: &WorkerView<'_>, now: Time) -> f64 {
        if self.is_hot(w) {
            return HOT + Self::rif(w);
        }
        self.latency(w, now).map_or(0.0, |secs| secs.min(HOT))
    }

    /// Looks at the next worker in turn, as a probe would.
    fn look(&mut self) {
        self.next = (self.next + 1) % self.ids.len().max(1);
        if let Some(seen) = self.ids.get(self.next).and_then(|&id| self.workers.get(id))
            && seen.weight > 0.0
            && seen.weight.is_finite()
        {
            self.quantile.push(f64::from(seen.in_flight) / seen.weight);
        }
    }

    fn finished(&mut self, now: Time, completion: &Completion) {
        let Some(seen) = self.workers.get_mut(completion.worker) else { return };
        let here = level(f64::from(seen.in_flight.saturating_sub(1)));
        seen.in_flight = seen.in_flight.saturating_sub(1);
        if let Some((secs, tokens)) = secs_and_tokens(completion) {
            let new = secs / tokens;
            let old = seen.latencies[here].map_or(new, |(old, _)| old);
            seen.latencies[here] = Some((old + GAIN * (new - old), now));
        }
    }
}

impl Policy for Prequal {
    fn name(&self) -> &'static str {
        "prequal"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let mut cx = cx.shortlist(std::iter::empty());
        let now = cx.now;
        let mut best = BestCandidate::default();
        let mut cold = false;
        for w in cx.candidates.iter() {
            let cost = self.cost(&w, now);
            cold |= cost < HOT;
            cx.explain(w.id, cost, || {
                let terms = load_terms(&w).and("hot", f64::from(u8::from(self.is_hot(&w))));
                let latency = self.latency(&w, now);
                latency.map_or(terms, |secs| terms.and("secs_per_token", secs))
            });
            best.offer_then(w.id, cost, w.load_rank(), cx.rng);
        }
        best.decide(cx.candidates, if cold { Reason::LowestCost } else { Reason::LoadBased })
    }

    fn observe(&mut self, now: Time, event: &Event<'_>) {
        match event {
            Event::Joined { worker, info } => {
                self.workers
                    .insert(*worker, WorkerSamples { weight: info.weight, ..WorkerSamples::default() });
                self.ids.push(*worker);
                self.ids.sort_unstable();
            }
            Event::Changed { worker, info } => {
                if let Some(seen) = self.workers.get_mut(*worker) {
                    seen.weight = info.weight;
                }
            }
            Event::Left(worker) => {
                self.workers.remove(*worker);
                self.ids.retain(|id| id != worker);
                if self.ids.is_empty() {
                    self.quantile.clear();
                }
            }
            Event::Dispatched { worker, .. } => {
                self.look();
                if let Some(seen) = self.workers.get_mut(*worker) {
                    seen.in_flight += 1;
                }
            }
            Event::Finished(completion) => self.finished(now, completion),
            _ => (),
        }
    }

    fn gauges(&self, report: &mut dyn FnMut(&'static str, f64)) {
        if let Some(most) = self.quantile.value() {
            report("hot_above", most as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerInfo;
    use crate::testing::TestBench;

    fn bench(config: PrequalConfig, workers: usize) -> TestBench {
        let mut bench = TestBench::new(Box::new(Prequal::new(config).unwrap()), workers);
        bench.now = Time::from_secs_f64(100.0);
        bench
    }

    #[test]
    fn fastest_is_chosen_until_hot() {
        let mut bench = bench(PrequalConfig::default(), 3);
        for (worker, secs) in [(0, 4.0), (1, 1.0), (2, 3.0)] {
            bench.complete(worker, secs, 100);
        }
        // No worker was seen with any in flight so far, so one makes a worker hot; then the fewest in flight count.
        assert_eq!(bench.send_many(3), [1, 2, 0]);
        assert_eq!(bench.last_reason(), Reason::LowestCost);
        bench.send();
        assert_eq!(bench.last_reason(), Reason::LoadBased);
    }

    #[test]
    fn all_hot_means_fewest_in_flight() {
        let mut bench = bench(PrequalConfig { rif_quantile: 0.0, ..PrequalConfig::default() }, 2);
        bench.complete(0, 1.0, 100);
        bench.complete(1, 9.0, 100);
        bench.hold(0, 3);
        bench.hold(1, 2);
        assert_eq!(bench.send(), 1);
        assert_eq!(bench.last_reason(), Reason::LoadBased);
    }

    #[test]
    fn worker_without_recent_response_is_tried() {
        let mut bench = bench(PrequalConfig::default(), 2);
        bench.complete(0, 1.0, 100);
        assert_eq!(bench.send(), 1);
        assert_eq!(bench.last_reason(), Reason::LowestCost);
        bench.finish_all();
        bench.complete(1, 2.0, 100);
        assert_eq!(bench.send(), 0);
        bench.finish_all();
        bench.now = Time::from_secs_f64(125.0);
        bench.complete(0, 1.0, 100);
        bench.now = Time::from_secs_f64(131.0);
        assert_eq!(bench.send(), 1, "its last response is too long ago");
    }

    #[test]
    fn latencies_are_kept_per_load_level() {
        let mut bench = bench(PrequalConfig { rif_quantile: 1.0, ..PrequalConfig::default() }, 2);
        // Worker 0 is fast with one request and slow with several.
        bench.complete(0, 1.0, 100);
        bench.complete(1, 2.0, 100);
        assert_eq!(bench.send(), 0);
        bench.hold(0, 6);
        bench.complete(0, 5.0, 100);
        assert_eq!(bench.send(), 1);
    }

    #[test]
    fn the_weight_says_how_many_are_many() {
        let mut bench = bench(PrequalConfig { rif_quantile: 0.0, ..PrequalConfig::default() }, 1);
        bench.join_as(WorkerInfo { weight: 3.0, ..WorkerInfo::new("http://big") });
        let sent = bench.send_many(40);
        let big = sent.iter().filter(|&&w| w == 1).count();
        assert!((28..=32).contains(&big), "{big}");
    }

    #[test]
    fn bad_options_are_named() {
        let error =
            Prequal::new(PrequalConfig { rif_quantile: 2.0, ..PrequalConfig::default() }).unwrap_err();
        assert_eq!(error.to_string(), "`rif_quantile` must be from 0 to 1, not 2");
    }
}
