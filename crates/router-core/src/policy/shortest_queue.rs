//! `shortest_queue`: the fewest requests waiting, by what the workers reported and what was sent since.

use super::round_robin::RotationCursor;
use super::{BestCandidate, InvalidOption, load_terms};
use crate::fleet::Candidates;
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Event, Policy, PolicyNeeds, Reason, Time};
use serde::{Deserialize, Serialize};

/// The options of [`ShortestQueue`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShortestQueueConfig {
    /// Without any queue length: round robin when true, fewest in flight when false. Default true.
    pub enable_fallback: bool,
    /// A queue length reported longer ago than this many seconds is not used. Default 10, twice the usual interval of
    /// load polls, so that one lost poll does not matter; 0 and more.
    pub max_report_age_secs: f64,
}

impl Default for ShortestQueueConfig {
    fn default() -> Self {
        Self { enable_fallback: true, max_report_age_secs: 10.0 }
    }
}

/// Chooses the candidate with the fewest requests waiting for its weight; equal ones by fewer in flight, then at random.
///
/// The estimate is the last queue length reported, plus what was sent and minus what finished since.
///
/// A candidate that reported nothing, beside others that did, counts as if all its requests in flight were waiting,
/// less those it is known to run at once ([`max_running_requests`](crate::WorkerInfo::max_running_requests)).
/// So it is used while it is idle, and otherwise counts as having the longest queue that is possible.
#[derive(Clone, Copy, Debug)]
pub struct ShortestQueue {
    config: ShortestQueueConfig,
    turn: RotationCursor,
}

impl ShortestQueue {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: ShortestQueueConfig) -> Result<Self, InvalidOption> {
        InvalidOption::check_not_negative("max_report_age_secs", config.max_report_age_secs)?;
        Ok(Self { config, turn: RotationCursor::default() })
    }

    fn without_data(&self, cx: DecisionContext<'_>, all: Candidates<'_>) -> Decision {
        let n = all.len();
        if self.config.enable_fallback {
            let reason = if n == 1 { Reason::OnlyCandidate } else { Reason::Fallback };
            return Decision::plain(self.turn.next(all), reason);
        }
        cx.least_loaded(Reason::Fallback, load_terms)
    }
}

/// How many may wait at a worker that does not report.
fn assumed_waiting(w: &WorkerView<'_>) -> u32 {
    w.in_flight.saturating_sub(w.info.max_running_requests.unwrap_or(0))
}

impl Policy for ShortestQueue {
    fn name(&self) -> &'static str {
        "shortest_queue"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { load_reports: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        let all = cx.candidates;
        let mut cx = cx.shortlist(std::iter::empty());
        let (now, age) = (cx.now, self.config.max_report_age_secs);
        if !cx.candidates.iter().any(|w| w.fresh_waiting(now, age).is_some()) {
            return self.without_data(cx, all);
        }
        let mut best = BestCandidate::default();
        for w in cx.candidates.iter() {
            let reported = w.fresh_waiting(now, age);
            let waiting = f64::from(reported.unwrap_or_else(|| assumed_waiting(&w)));
            let cost = w.per_weight(waiting);
            cx.explain(w.id, cost, || {
                let name = if reported.is_some() { "estimated_waiting" } else { "assumed_waiting" };
                load_terms(&w).and(name, waiting)
            });
            best.offer_then(w.id, cost, w.load_rank(), cx.rng);
        }
        best.decide(cx.candidates, Reason::ShortestQueue)
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        self.turn.observe(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, LoadReport, LoadSource};

    fn bench(config: ShortestQueueConfig, workers: usize) -> TestBench {
        TestBench::new(Box::new(ShortestQueue::new(config).unwrap()), workers)
    }

    fn report(bench: &mut TestBench, worker: usize, waiting: u32) {
        let load = LoadReport { waiting: Some(waiting), ..LoadReport::empty(bench.now, LoadSource::Poll) };
        bench.balancer.apply(bench.now, FleetUpdate::Load(bench.ids[worker], load));
    }

    #[test]
    fn the_weight_says_how_long_is_long() {
        let mut bench = bench(ShortestQueueConfig::default(), 1);
        bench.join_as(crate::WorkerInfo { weight: 3.0, ..crate::WorkerInfo::new("http://big") });
        report(&mut bench, 0, 2);
        report(&mut bench, 1, 4);
        assert_eq!(bench.send(), 1, "4 waiting at three times the capacity");
    }

    #[test]
    fn burst_evens_out_the_queues() {
        let mut bench = bench(ShortestQueueConfig::default(), 3);
        for (worker, waiting) in [(0, 0), (1, 4), (2, 4)] {
            report(&mut bench, worker, waiting);
        }
        // No report comes during the burst: the requests sent since are added to the last one.
        let chosen = bench.send_many(13);
        let count = |w| chosen.iter().filter(|&&c| c == w).count();
        assert_eq!((count(0), count(1), count(2)), (7, 3, 3));
        assert_eq!(chosen[..4], [0, 0, 0, 0]);
    }

    #[test]
    fn equal_queues_prefer_fewer_in_flight() {
        let mut bench = bench(ShortestQueueConfig::default(), 3);
        bench.hold(0, 2);
        bench.hold(2, 1);
        for worker in 0..3 {
            report(&mut bench, worker, 1);
        }
        assert_eq!(bench.send(), 1);
    }

    #[test]
    fn without_data_it_rotates() {
        let mut bench = bench(ShortestQueueConfig::default(), 3);
        assert_eq!(bench.send_many(4), [0, 1, 2, 0]);
        assert_eq!(bench.last_reason(), Reason::Fallback);
        report(&mut bench, 0, 0);
        bench.now = Time::from_secs_f64(10.5);
        bench.send();
        assert_eq!(bench.last_reason(), Reason::Fallback, "the report is too old");
    }

    #[test]
    fn without_rotation_fewest_in_flight_wins() {
        let config = ShortestQueueConfig { enable_fallback: false, ..ShortestQueueConfig::default() };
        let mut bench = bench(config, 3);
        bench.hold(0, 2);
        bench.hold(1, 1);
        assert_eq!((bench.send(), bench.last_reason()), (2, Reason::Fallback));
    }

    #[test]
    fn unreported_worker_is_used_while_idle() {
        let mut bench = bench(ShortestQueueConfig::default(), 2);
        bench.hold(0, 3);
        report(&mut bench, 0, 0);
        assert_eq!(bench.send(), 1, "idle ties with an empty queue and has fewer in flight");
        assert_eq!(bench.send(), 0, "the silent one may have a queue of one, the other has none");
    }

    #[test]
    fn report_without_queue_length_keeps_the_last() {
        let mut bench = bench(ShortestQueueConfig::default(), 2);
        report(&mut bench, 0, 9);
        report(&mut bench, 1, 2);
        let usage =
            LoadReport { kv_usage: Some(0.1), ..LoadReport::empty(Time::ZERO, LoadSource::Piggyback) };
        bench.balancer.apply(Time::ZERO, FleetUpdate::Load(bench.ids[1], usage));
        assert_eq!((bench.send(), bench.last_reason()), (1, Reason::ShortestQueue));
    }
}
