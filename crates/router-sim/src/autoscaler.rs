//! An autoscaler as KEDA and the horizontal pod autoscaler of Kubernetes make it: a number read from time to time, a target, and
//! bounds on how fast the fleet follows.

use router_core::{ScalingOptions, Time};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The autoscaler leaves the fleet as it is while what it wants is within this share of what is there, as Kubernetes does.
const TOLERANCE: f64 = 0.1;
/// At one reading the fleet at most doubles or grows by this many workers, as Kubernetes has it by default.
const MOST_AT_ONCE: u32 = 4;

/// What an autoscaler reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoscaleMetric {
    /// The router's `workers_needed`.
    Signal,
    /// Requests that wait in the queues of the engines, as `vllm:num_requests_waiting`.
    Queue,
    /// Requests in flight, waiting or running.
    InFlight,
    /// Nothing: the fleet has always so many workers as the target says.
    Fixed,
}

impl AutoscaleMetric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signal, Self::Queue, Self::InFlight, Self::Fixed];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Queue => "queue",
            Self::InFlight => "in-flight",
            Self::Fixed => "fixed",
        }
    }
}

/// A metric, how much of it one worker is to have, and the fewest workers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AutoscaleRule {
    /// The metric.
    pub metric: AutoscaleMetric,
    /// Of the metric per worker, above 0: the threshold of KEDA's trigger.
    pub target: f64,
    /// Fewest workers. Default 1.
    pub least: u32,
}

impl fmt::Display for AutoscaleRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.metric.as_str(), self.target)?;
        if self.least == 1 { Ok(()) } else { write!(f, ":{}", self.least) }
    }
}

/// The text is no rule of an autoscaler.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "expected signal, queue or in-flight with a target per worker above 0, and perhaps the fewest workers, as in queue:2.5:4, or fixed:WORKERS"
)]
pub struct AutoscaleRuleError;

impl FromStr for AutoscaleRule {
    type Err = AutoscaleRuleError;

    /// Parses `signal`, `signal:0.9`, `queue:2.5:4`, `in-flight:8` or `fixed:6`; target and fewest workers are 1 where not given.
    fn from_str(text: &str) -> Result<Self, AutoscaleRuleError> {
        let mut parts = text.trim().split(':');
        let name = parts.next().unwrap_or_default();
        let (target, least) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("1"));
        if parts.next().is_some() {
            return Err(AutoscaleRuleError);
        }
        let metric =
            AutoscaleMetric::ALL.into_iter().find(|m| m.as_str() == name).ok_or(AutoscaleRuleError)?;
        let target = target.parse().ok().filter(|t: &f64| t.is_finite() && *t > 0.0);
        let least = least.parse().ok().filter(|least| (1..=10_000).contains(least));
        Ok(Self {
            metric,
            target: target.ok_or(AutoscaleRuleError)?,
            least: least.ok_or(AutoscaleRuleError)?,
        })
    }
}

/// An autoscaler.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Autoscaler {
    /// What it follows.
    pub rule: AutoscaleRule,
    /// How often it reads its metric. Default 15 s.
    pub interval: Duration,
    /// How long a worker that was ordered takes to be ready; it is paid for meanwhile. Default 120 s.
    pub startup: Duration,
    /// The fleet shrinks to the most that was wanted within this time. Default 300 s.
    pub stabilization: Duration,
    /// Most workers. Default 64.
    pub most: u32,
    /// What the router's figures are relative to.
    pub scaling: ScalingOptions,
}

impl Autoscaler {
    /// An autoscaler with the defaults.
    pub fn new(rule: AutoscaleRule) -> Self {
        Self {
            rule,
            interval: Duration::from_secs(15),
            startup: Duration::from_secs(120),
            stabilization: Duration::from_secs(300),
            most: 64,
            scaling: ScalingOptions::default(),
        }
    }
}

/// What an autoscaler remembers between readings.
#[derive(Clone, Debug)]
pub(crate) struct AutoscalerState {
    autoscaler: Autoscaler,
    /// What was wanted at the last readings, oldest first.
    wanted: VecDeque<(Time, u32)>,
}

impl AutoscalerState {
    pub(crate) const fn new(autoscaler: Autoscaler) -> Self {
        Self { autoscaler, wanted: VecDeque::new() }
    }

    /// How many workers there should be, where `workers` are there or are being started and the metric has this sum; without
    /// a metric the fleet stays.
    pub(crate) fn decide(&mut self, now: Time, workers: u32, metric: Option<f64>) -> u32 {
        let Autoscaler { rule, stabilization, most, .. } = self.autoscaler;
        let per_worker = metric.map(|sum| sum / rule.target);
        let stays = |wanted: &f64| (wanted / f64::from(workers.max(1)) - 1.0).abs() <= TOLERANCE;
        let wanted = match per_worker.filter(|wanted| !stays(wanted)) {
            Some(wanted) => wanted.ceil().clamp(0.0, 1e6) as u32,
            None => workers,
        };
        self.wanted.push_back((now, wanted));
        while self.wanted.front().is_some_and(|(at, _)| now.since(*at) > stabilization) {
            self.wanted.pop_front();
        }
        let highest = self.wanted.iter().map(|(_, wanted)| *wanted).max().unwrap_or(wanted);
        let limit = (2 * workers).max(workers + MOST_AT_ONCE);
        let next = if wanted > workers { wanted.min(limit) } else { highest.min(workers) };
        next.clamp(rule.least, most.max(rule.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(rule: &str) -> AutoscalerState {
        AutoscalerState::new(Autoscaler { most: 20, ..Autoscaler::new(rule.parse().unwrap()) })
    }

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn grows_at_once_and_shrinks_when_nothing_more_was_wanted_for_long() {
        let mut queue = state("queue:2:2");
        assert_eq!(queue.decide(at(0), 4, Some(13.0)), 7);
        assert_eq!(queue.decide(at(15), 7, Some(13.5)), 7, "within the tolerance");
        assert_eq!(queue.decide(at(30), 7, Some(0.0)), 7);
        assert_eq!(queue.decide(at(315), 7, Some(4.0)), 7);
        assert_eq!(queue.decide(at(616), 7, Some(0.0)), 2, "the least");
    }

    #[test]
    fn growth_is_bounded_and_without_a_metric_the_fleet_stays() {
        let mut signal = state("signal");
        assert_eq!(signal.decide(at(0), 3, Some(100.0)), 7);
        assert_eq!(signal.decide(at(15), 7, Some(100.0)), 14);
        assert_eq!(signal.decide(at(30), 14, Some(100.0)), 20, "the most");
        assert_eq!(state("signal").decide(at(0), 5, None), 5);
    }

    #[test]
    fn rules_parse_what_they_display() {
        for text in ["signal:0.9", "queue:2.5:4", "in-flight:8"] {
            assert_eq!(text.parse::<AutoscaleRule>().unwrap().to_string(), text);
        }
        for text in ["", "queue:0", "queue:1:0", "queue:1:2:3", "queue:", "waiting:1", "signal:nan"] {
            assert_eq!(text.parse::<AutoscaleRule>(), Err(AutoscaleRuleError), "{text}");
        }
    }
}
