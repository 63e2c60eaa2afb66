//! The row of each worker, and what is kept of it from one sample to the next.

use super::window::{CountWindow, Counted, RecentValues};
use router_core::{Outcome, Time};
use router_live::{Cause, Fault, WorkerRow};
use router_telemetry::{Clock, LiveCompletion, LiveFirstByte, WorkerTelemetry};
use router_upstream::{Candidate, HealthState, Worker, WorkerLoad, WorkerPool};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Times to the first byte, and speeds, that are kept of one worker.
const KEPT_VALUES: usize = 256;
/// Predictions that are kept of one worker.
const KEPT_PREDICTIONS: usize = 32;
/// Fewer predictions say nothing.
const FEWEST_PREDICTIONS: usize = 8;
/// Over how long the growth of a queue is taken.
const GROWTH_WINDOW: Duration = Duration::from_secs(10);
/// How often the length of the queue is noted.
const GROWTH_STEP: Duration = Duration::from_secs(1);
/// The labels that tell where a worker is, the first one first.
const ZONE_LABELS: [&str; 2] = ["zone", "topology.kubernetes.io/zone"];

/// What is kept of one worker while somebody watches.
#[derive(Debug)]
pub(super) struct WorkerHistory {
    counts: CountWindow,
    ttft: RecentValues,
    speed: RecentValues,
    /// What the policy predicted that requests take here, over what it predicted for the others.
    predicted: RecentValues,
    queue: VecDeque<(Time, u32)>,
    fault: Option<Fault>,
    /// What the policy said last of the error of its predictions.
    pub(super) forecast_error: Option<f64>,
    /// The number of the last sample that the worker was in.
    pub(super) seen: u64,
}

impl Default for WorkerHistory {
    fn default() -> Self {
        Self {
            counts: CountWindow::default(),
            ttft: RecentValues::new(KEPT_VALUES),
            speed: RecentValues::new(KEPT_VALUES),
            predicted: RecentValues::new(KEPT_PREDICTIONS),
            queue: VecDeque::new(),
            fault: None,
            forecast_error: None,
            seen: 0,
        }
    }
}

impl WorkerHistory {
    /// A stream of the worker began.
    pub(super) fn began(&mut self, first: LiveFirstByte) {
        self.ttft.push(first.at, first.secs);
    }

    /// A request was predicted to take so many times as long on the worker as on the others.
    pub(super) fn predicted(&mut self, at: Time, ratio: f64) {
        self.predicted.push(at, ratio);
    }

    /// An attempt on the worker ended.
    pub(super) fn completed(&mut self, completion: &LiveCompletion, clock: Clock) {
        if let Some(speed) = completion.speed {
            self.speed.push(completion.at, speed);
        }
        if matches!(completion.outcome, Outcome::Failed | Outcome::Busy) {
            self.fault = Some(Fault {
                at: clock.unix(completion.at).as_secs_f64(),
                reason: completion.error.unwrap_or_else(|| completion.outcome.as_str()).to_owned(),
                status: completion.status,
            });
        }
    }

    /// How many times as long as the others it takes, as the policy predicts; `None` while few predictions say so.
    fn slowness(&mut self, now: Time) -> Option<f64> {
        let median = self.predicted.quantiles(now, [0.5]).map(|[median]| median);
        median.filter(|_| self.predicted.len() >= FEWEST_PREDICTIONS)
    }

    /// What was counted in the window.
    pub(super) fn count(&mut self, now: Time, telemetry: &WorkerTelemetry) -> Option<Counted> {
        self.counts.advance(now, telemetry.metrics.counts())
    }

    /// By how much the queue has grown.
    fn growth(&mut self, now: Time, waiting: Option<u32>) -> Option<i64> {
        let Some(waiting) = waiting else {
            self.queue.clear();
            return None;
        };
        if self.queue.back().is_none_or(|(at, _)| now.since(*at) >= GROWTH_STEP) {
            self.queue.push_back((now, waiting));
        }
        while self.queue.get(1).is_some_and(|(at, _)| now.since(*at) >= GROWTH_WINDOW) {
            self.queue.pop_front();
        }
        let (at, before) = *self.queue.front()?;
        (now.since(at) >= GROWTH_WINDOW).then(|| i64::from(waiting) - i64::from(before))
    }
}

/// The row of a worker, but for what only a look at the others tells.
pub(super) fn row(
    pool: &WorkerPool,
    load: &WorkerLoad,
    now: Time,
    history: &mut WorkerHistory,
    counted: Option<&Counted>,
) -> WorkerRow {
    let (candidate, worker) = (&load.worker, &load.worker.worker);
    let profile = worker.profile.load();
    let unix = |time| rounded_time(pool.clock, time);
    let ttft = history.ttft.quantiles(now, [0.5, 0.99]);
    WorkerRow {
        id: pool.public_id(candidate),
        name: candidate.telemetry.name.to_string(),
        model: pool.model.name().map(|model| model.to_string()),
        kind: profile.kind.as_str().to_owned(),
        zone: ZONE_LABELS.iter().find_map(|label| profile.labels.get(*label)).cloned(),
        labels: profile.labels.clone(),
        state: state(candidate, load.in_flight).to_owned(),
        cause: cause(pool, worker),
        since: Some(unix(worker.membership_changed_at())),
        breaker: worker.breaker(now).map(|breaker| breaker.state.as_str().to_owned()),
        in_flight: load.in_flight,
        cap: load.cap,
        waiting: load.waiting,
        waiting_growth: history.growth(now, load.waiting),
        is_overloaded: load.is_overloaded,
        has_outdated_weights: worker.has_outdated_weights(),
        weight: profile.weight,
        priority: profile.priority,
        share: None,
        requests_per_sec: counted.and_then(Counted::requests_per_sec),
        failure_share: counted.and_then(Counted::failure_share),
        ttft_p50: ttft.map(|[median, _]| median),
        ttft_p99: ttft.map(|[_, high]| high),
        tokens_per_sec: counted.and_then(Counted::tokens_per_sec),
        cached_share: counted.and_then(Counted::cached_share),
        stream_speed: history.speed.quantiles(now, [0.5]).map(|[median]| median),
        relative_speed: None,
        relative_ttft: None,
        responses: history.speed.len() as u32,
        first_bytes: history.ttft.len() as u32,
        is_slow: false,
        predicted_slowness: history.slowness(now),
        forecast_error: history.forecast_error,
        last_fault: last_fault(pool, candidate, history.fault.clone()),
    }
}

/// The state of a worker. One that an admin drains is not said to be not ready, which it is for the balancer.
fn state(candidate: &Candidate, in_flight: u32) -> &'static str {
    match candidate.health() {
        HealthState::NotReady if candidate.worker.is_drained() && in_flight > 0 => "draining",
        HealthState::NotReady if candidate.worker.is_drained() => "drained",
        health => health.as_str(),
    }
}

/// To a tenth of a second, which is all that is shown.
pub(super) fn rounded_time(clock: Clock, time: Time) -> f64 {
    (clock.unix(time).as_secs_f64() * 10.0).round() / 10.0
}

/// Why a worker is unhealthy, not ready or behind with its weights, and since when.
fn cause(pool: &WorkerPool, worker: &Arc<Worker>) -> Option<Cause> {
    let since = |time| Some(rounded_time(pool.clock, time));
    if let Some(problem) = worker.readiness_problem() {
        return Some(Cause {
            reason: "not_ready".to_owned(),
            message: problem.reason,
            since: since(problem.since),
        });
    }
    if let Some(problem) = worker.problem() {
        return Some(Cause {
            reason: problem.failure.reason.as_str().to_owned(),
            message: without_address(&problem.failure.message, worker.url.as_str()),
            since: since(problem.since),
        });
    }
    let missed = worker.missed_update()?;
    Some(Cause { reason: "missed_update".to_owned(), message: missed.reason, since: since(missed.since) })
}

/// The message of a failed connection without the address that it begins with, which stands beside it, and the system's number.
fn without_address(message: &str, url: &str) -> String {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    let rest = message.strip_prefix(address).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(message);
    rest.split_once(" (os error ").map_or(rest, |(words, _)| words).to_owned()
}

/// The later one of the last failed attempt and what the worker fails with now.
fn last_fault(pool: &WorkerPool, candidate: &Candidate, attempt: Option<Fault>) -> Option<Fault> {
    let check = candidate.worker.problem().filter(|_| candidate.health() != HealthState::Pending);
    let check = check.map(|problem| Fault {
        at: rounded_time(pool.clock, problem.since),
        reason: problem.failure.reason.as_str().to_owned(),
        status: None,
    });
    match (attempt, check) {
        (Some(a), Some(b)) => Some(if a.at > b.at { a } else { b }),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_does_not_repeat_the_address() {
        let plain = |message| without_address(message, "http://w1:30000");
        assert_eq!(plain("w1:30000: Connection refused (os error 111)"), "Connection refused");
        assert_eq!(plain("timed out after 5 s"), "timed out after 5 s");
    }

    #[test]
    fn growth_is_that_of_ten_seconds() {
        let mut history = WorkerHistory::default();
        let mut at = |secs: u64, waiting| history.growth(Time::ZERO + Duration::from_secs(secs), waiting);
        assert_eq!(at(0, Some(3)), None, "too soon");
        (1..10).for_each(|secs| assert_eq!(at(secs, Some(3)), None));
        assert_eq!(at(10, Some(9)), Some(6));
        assert_eq!(at(30, Some(9)), Some(0));
        assert_eq!(at(31, None), None);
        assert_eq!(at(41, Some(50)), None, "what was before the gap is not compared");
    }
}
