//! `least_request`: the fewest requests in flight for what the worker can take.

use super::sample::RandomSubset;
use super::speeds::DecodeSpeeds;
use super::{InvalidOption, load_terms};
use crate::worker_view::WorkerView;
use crate::{Decision, DecisionContext, Event, Policy, Reason, Time};
use serde::{Deserialize, Serialize};

/// The options of [`LeastRequest`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeastRequestConfig {
    /// How many candidates are drawn at random and compared; 0 compares all. Default 0; 0, or 2 to 8.
    pub choice_count: usize,
    /// How much requests in flight count against weight (Envoy): at 0 weight alone decides. Default 1; 0 and more.
    pub active_request_bias: f64,
    /// Whether a request counts by the seconds per token that the worker takes. Default false.
    pub speed_weighted: bool,
}

impl Default for LeastRequestConfig {
    fn default() -> Self {
        Self { choice_count: 0, active_request_bias: 1.0, speed_weighted: false }
    }
}

/// Takes the worker with the fewest requests in flight from this router, one more counted, for its weight and, if
/// wanted, its speed.
#[derive(Clone, Debug, Default)]
pub struct LeastRequest {
    config: LeastRequestConfig,
    speeds: DecodeSpeeds,
}

impl LeastRequest {
    /// A policy with these options.
    ///
    /// # Errors
    /// An option whose value makes no sense.
    pub fn new(config: LeastRequestConfig) -> Result<Self, InvalidOption> {
        RandomSubset::check("choice_count", config.choice_count)?;
        InvalidOption::check_not_negative("active_request_bias", config.active_request_bias)?;
        Ok(Self { config, speeds: DecodeSpeeds::default() })
    }

    fn cost(&self, w: &WorkerView<'_>, speed: f64) -> f64 {
        let requests = f64::from(w.in_flight) + 1.0;
        let bias = self.config.active_request_bias;
        w.per_weight(if bias == 1.0 { requests } else { requests.powf(bias) } * speed)
    }

    fn by_speed(&self, cx: DecisionContext<'_>) -> Decision {
        let now = cx.now;
        let speed = |w: &WorkerView<'_>| self.speeds.secs_per_token(w.id, now).unwrap_or(1.0);
        // All speeds are known or none, since unknown ones are replaced by the mean.
        let known = self.speeds.secs_per_token(cx.candidates.first(), now).is_some();
        cx.lowest_drawn(
            self.config.choice_count,
            if known { Reason::LowestCost } else { Reason::Fallback },
            |w| self.cost(w, speed(w)),
            |w| load_terms(w).and("secs_per_token", speed(w)),
        )
    }
}

impl Policy for LeastRequest {
    fn name(&self) -> &'static str {
        "least_request"
    }

    fn decide(&mut self, cx: DecisionContext<'_>) -> Decision {
        if self.config.speed_weighted {
            return self.by_speed(cx);
        }
        cx.lowest_drawn(self.config.choice_count, Reason::LoadBased, |w| self.cost(w, 1.0), load_terms)
    }

    fn observe(&mut self, _now: Time, event: &Event<'_>) {
        if self.config.speed_weighted {
            self.speeds.observe(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkerInfo;
    use crate::testing::TestBench;

    fn bench(config: LeastRequestConfig, weights: &[f64]) -> TestBench {
        let mut bench = TestBench::new(Box::new(LeastRequest::new(config).unwrap()), 0);
        for weight in weights {
            bench.join_as(WorkerInfo { weight: *weight, ..WorkerInfo::new("http://worker") });
        }
        bench
    }

    #[test]
    fn least_loaded_worker_is_next() {
        let mut bench = bench(LeastRequestConfig::default(), &[1.0; 3]);
        bench.hold(0, 3);
        bench.hold(1, 1);
        bench.hold(2, 2);
        assert_eq!(bench.send_as(&crate::RequestFeatures::default()), 1);
    }

    #[test]
    fn shares_follow_the_weights() {
        let mut bench = bench(LeastRequestConfig::default(), &[3.0, 1.0, 0.0]);
        let sent = bench.send_many(40);
        assert_eq!([0, 1, 2].map(|w| sent.iter().filter(|&&s| s == w).count()), [30, 10, 0]);
    }

    #[test]
    fn without_bias_only_weight_decides() {
        let config = LeastRequestConfig { active_request_bias: 0.0, ..LeastRequestConfig::default() };
        assert_eq!(bench(config, &[1.0, 2.0]).send_many(5), [1; 5]);
    }

    #[test]
    fn among_equals_the_higher_priority_goes_first() {
        let mut bench = bench(LeastRequestConfig::default(), &[1.0, 1.0]);
        bench.join_as(WorkerInfo { priority: 60, ..WorkerInfo::new("http://better") });
        assert_eq!(bench.send(), 2);
        let mut rest = bench.send_many(2);
        rest.sort_unstable();
        assert_eq!(rest, [0, 1], "it is preferred among equals, not overloaded");
    }

    #[test]
    fn by_speed_the_faster_one_holds_more() {
        let config = LeastRequestConfig { speed_weighted: true, ..LeastRequestConfig::default() };
        let mut bench = bench(config, &[1.0, 1.0]);
        bench.send();
        assert_eq!(bench.last_reason(), Reason::Fallback, "no worker has responded yet");
        bench.finish_all();
        bench.now = Time::from_secs_f64(100.0);
        bench.complete(0, 1.0, 100);
        bench.complete(1, 4.0, 100);
        let sent = bench.send_many(20);
        assert_eq!(bench.last_reason(), Reason::LowestCost);
        assert_eq!(sent.iter().filter(|&&s| s == 0).count(), 16, "four to one");
    }

    #[test]
    fn busier_of_two_is_not_chosen() {
        let config = LeastRequestConfig { choice_count: 2, ..LeastRequestConfig::default() };
        let mut bench = bench(config, &[1.0; 3]);
        bench.hold(0, 5);
        for _ in 0..50 {
            let asked = bench.ask();
            assert_eq!(asked.scores.len(), 2);
            assert_ne!(asked.decision.worker.slot(), 0);
        }
    }

    #[test]
    fn bad_options_are_named() {
        let error = |config| LeastRequest::new(config).unwrap_err().to_string();
        let one = LeastRequestConfig { choice_count: 1, ..LeastRequestConfig::default() };
        assert_eq!(error(one), "`choice_count` must be 0, or from 2 to 8, not 1");
        let bias = LeastRequestConfig { active_request_bias: -1.0, ..LeastRequestConfig::default() };
        assert_eq!(error(bias), "`active_request_bias` must be 0 or more, not -1");
    }
}
