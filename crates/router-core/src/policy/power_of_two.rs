//! `power_of_two`: the less loaded of two candidates drawn at random.
//!
//! Drawing two instead of comparing all keeps routers that share a fleet, or use old reports, from herding on
//! one worker (Mitzenmacher, "How useful is old information?", 2000).

use super::sample::RandomSubset;
use super::{BestCandidate, InvalidOption, load_terms};
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Policy, PolicyNeeds, Reason, Time};
use serde::{Deserialize, Serialize};

/// The options of [`PowerOfTwo`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PowerOfTwoConfig {
    /// A load report older than this many seconds is not used. Default 5; 0 and more.
    pub max_report_age_secs: f64,
}

impl Default for PowerOfTwoConfig {
    fn default() -> Self {
        Self { max_report_age_secs: 5.0 }
    }
}

/// Draws two distinct candidates and takes the one with the lower load for its weight; equal loads are decided at random.
///
/// Load is what both reported recently, of the same kind: tokens if both reported those, else requests running and
/// waiting, each corrected by what was sent and finished since. Otherwise it is the requests in flight.
#[derive(Clone, Copy, Debug)]
pub struct PowerOfTwo {
    config: PowerOfTwoConfig,
}

impl PowerOfTwo {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: PowerOfTwoConfig) -> Result<Self, InvalidOption> {
        InvalidOption::check_not_negative("max_report_age_secs", config.max_report_age_secs)?;
        Ok(Self { config })
    }

    /// The loads of both in one unit, before their weights count, and the name of that unit.
    fn loads(&self, now: Time, a: &WorkerView<'_>, b: &WorkerView<'_>) -> (&'static str, [f64; 2]) {
        let age = self.config.max_report_age_secs;
        if let (Some(a), Some(b)) = (a.fresh_tokens(now, age), b.fresh_tokens(now, age)) {
            return ("reported_tokens", [a, b]);
        }
        if let (Some(a), Some(b)) = (a.fresh_requests(now, age), b.fresh_requests(now, age)) {
            return ("reported_requests", [f64::from(a), f64::from(b)]);
        }
        ("in_flight", [f64::from(a.in_flight), f64::from(b.in_flight)])
    }
}

impl Policy for PowerOfTwo {
    fn name(&self) -> &'static str {
        "power_of_two"
    }

    fn needs(&self) -> PolicyNeeds {
        PolicyNeeds { load_reports: true, ..PolicyNeeds::NONE }
    }

    fn decide(&mut self, mut cx: DecisionContext<'_>) -> Decision {
        let n = cx.candidates.len();
        if n == 1 {
            return Decision::plain(cx.candidates.first(), Reason::OnlyCandidate);
        }
        let drawn = RandomSubset::new(n, 2, cx.rng);
        let pair = |i: usize| drawn.places().get(i).and_then(|&place| cx.candidates.at(place));
        let (Some(a), Some(b)) = (pair(0), pair(1)) else {
            return Decision::plain(cx.candidates.first(), Reason::Fallback);
        };
        let (unit, loads) = self.loads(cx.now, &a, &b);
        let mut best = BestCandidate::default();
        // The new request counts as one of whatever is compared, so that weights decide between idle workers, too.
        for (w, load) in [a, b].iter().zip(loads) {
            let cost = w.per_weight(load + 1.0);
            cx.explain(w.id, cost, || {
                if unit == "in_flight" { load_terms(w) } else { load_terms(w).and(unit, load) }
            });
            best.offer(w, cost, cx.rng);
        }
        best.decide(cx.candidates, Reason::LoadBased)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBench;
    use crate::{FleetUpdate, LoadReport, LoadSource};

    fn policy() -> Box<PowerOfTwo> {
        Box::new(PowerOfTwo::new(PowerOfTwoConfig::default()).unwrap())
    }

    fn report(at: Time) -> LoadReport {
        LoadReport::empty(at, LoadSource::Poll)
    }

    #[test]
    fn the_busier_of_two_is_never_taken() {
        let mut bench = TestBench::new(policy(), 3);
        bench.hold(0, 5);
        bench.hold(1, 3);
        bench.hold(2, 4);
        // Worker 0 loses to either of the others.
        for _ in 0..200 {
            assert_ne!(bench.ask().decision.worker.slot(), 0);
        }
    }

    #[test]
    fn the_weight_says_how_much_is_much() {
        let mut bench = TestBench::new(policy(), 1);
        bench.join_as(crate::WorkerInfo { weight: 3.0, ..crate::WorkerInfo::new("http://big") });
        let sent = bench.send_many(40);
        assert_eq!(sent.iter().filter(|&&w| w == 1).count(), 30);
    }

    #[test]
    fn every_pair_is_drawn_alike() {
        let mut bench = TestBench::new(policy(), 4);
        let mut wins = [0_u32; 4];
        for _ in 0..4000 {
            wins[bench.send()] += 1;
        }
        assert!(wins.iter().all(|w| (880..1120).contains(w)), "{wins:?}");
    }

    #[test]
    fn fresh_token_counts_outweigh_requests_in_flight() {
        let mut bench = TestBench::new(policy(), 2);
        bench.hold(0, 1);
        for (worker, tokens) in [(0, 10), (1, 90_000)] {
            let load = LoadReport { tokens: Some(tokens), ..report(Time::ZERO) };
            bench.balancer.apply(Time::ZERO, FleetUpdate::Load(bench.ids[worker], load));
        }
        assert_eq!(bench.send(), 0);
        // Old reports are not used any more: worker 0 has one in flight, worker 1 none.
        bench.now = Time::from_secs_f64(5.5);
        assert_eq!(bench.send(), 1);
    }

    #[test]
    fn reports_of_different_kinds_are_not_compared() {
        let mut bench = TestBench::new(policy(), 2);
        bench.hold(0, 3);
        let tokens = LoadReport { tokens: Some(0), ..report(Time::ZERO) };
        let counts = LoadReport { waiting: Some(50), running: Some(50), ..report(Time::ZERO) };
        bench.balancer.apply(Time::ZERO, FleetUpdate::Load(bench.ids[0], tokens));
        bench.balancer.apply(Time::ZERO, FleetUpdate::Load(bench.ids[1], counts));
        assert_eq!(bench.send(), 1, "0 tokens and 100 requests cannot be compared, in-flight can");
    }

    #[test]
    fn reported_counts_follow_what_was_sent_since() {
        let mut bench = TestBench::new(policy(), 2);
        for (worker, running) in [(0, 0), (1, 3)] {
            let load = LoadReport { waiting: Some(0), running: Some(running), ..report(Time::ZERO) };
            bench.balancer.apply(Time::ZERO, FleetUpdate::Load(bench.ids[worker], load));
        }
        bench.hold(0, 5);
        assert_eq!(bench.send(), 1, "5 sent to worker 0 since it reported 0");
    }
}
