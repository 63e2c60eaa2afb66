//! The health of one worker: a pure state machine fed with health checks and connection errors.

use super::breaker::CircuitBreaker;
use super::check::CheckOutcome;
use super::failure::WorkerFailure;
use router_config::HealthConfig;
use router_core::Time;
use router_telemetry::{BreakerState, FailureReason};

/// The health state of a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthState {
    /// Not checked yet; gets no requests.
    Pending,
    /// Gets requests unless its breaker is open.
    Healthy,
    /// Failed its checks or cannot be reached; gets no requests.
    Unhealthy,
    /// Whoever runs the worker says that it is not ready; gets no new requests, whatever its checks say.
    NotReady,
    /// Is being removed; gets no new requests, those in flight may end.
    Draining,
    /// Was removed.
    Gone,
}

impl HealthState {
    /// The states of workers that are in the fleet.
    pub const IN_FLEET: [Self; 5] =
        [Self::Pending, Self::Healthy, Self::Unhealthy, Self::NotReady, Self::Draining];

    /// The name of the state in the admin API and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// Why a worker is unhealthy; it decides how many checks recovery takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnhealthyCause {
    /// A request could not connect. This may be transient, so one passed check is enough.
    Connection,
    /// Its checks failed.
    Checks,
}

/// What is wrong with a worker, and since when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthProblem {
    /// The last failure.
    pub failure: WorkerFailure,
    /// When the first failure in a row came.
    pub since: Time,
}

/// Whether a worker may get requests by the word of whoever runs it, such as the orchestrator of its container. Its health
/// checks are asked as well.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Readiness {
    /// It may.
    #[default]
    Ready,
    /// It may not, for this reason.
    NotReady(String),
}

/// Why and since when a worker is not ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadinessProblem {
    /// The reason.
    pub reason: String,
    /// Since when it is not ready, for whatever reason.
    pub since: Time,
}

/// The reason of a worker from which an admin keeps requests away.
const DRAINED: &str = "drained by an admin";

/// Whether a worker that stays in the fleet is to get requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DrainOrder {
    /// It gets no new ones.
    Drain,
    /// It gets them again.
    Restore,
}

/// The health state of a worker, and the counts that change it.
#[derive(Debug)]
pub(crate) struct WorkerHealth {
    /// The state by checks and connections alone.
    health: HealthState,
    /// Why it is not ready, unless it is.
    readiness_problem: Option<ReadinessProblem>,
    /// Set while an admin keeps requests away from it.
    drained: Option<ReadinessProblem>,
    failures: u32,
    successes: u32,
    cause: UnhealthyCause,
    /// What went wrong last, until the worker is healthy and passes its checks.
    problem: Option<HealthProblem>,
    /// Whether it refused a connection since it was healthy: no process listened.
    was_refused: bool,
    /// `None` when breakers are switched off.
    pub(crate) breaker: Option<CircuitBreaker>,
}

impl WorkerHealth {
    pub(crate) const fn new(breaker: Option<CircuitBreaker>) -> Self {
        Self {
            health: HealthState::Pending,
            readiness_problem: None,
            drained: None,
            failures: 0,
            successes: 0,
            cause: UnhealthyCause::Checks,
            problem: None,
            was_refused: false,
            breaker,
        }
    }

    pub(crate) const fn health(&self) -> HealthState {
        match (self.health, self.readiness_problem()) {
            (HealthState::Draining | HealthState::Gone, _) | (_, None) => self.health,
            (_, Some(_)) => HealthState::NotReady,
        }
    }

    /// The state by checks and connections alone: that of a worker that is not ready may be healthy.
    pub(crate) const fn checked_health(&self) -> HealthState {
        self.health
    }

    /// Why it is not ready, unless it is.
    pub(crate) const fn readiness_problem(&self) -> Option<&ReadinessProblem> {
        match &self.drained {
            Some(drained) => Some(drained),
            None => self.readiness_problem.as_ref(),
        }
    }

    /// Whether an admin keeps requests away from it.
    pub(crate) const fn is_drained(&self) -> bool {
        self.drained.is_some()
    }

    /// Notes that an admin keeps requests away from it, or does so no more; returns whether that changed.
    pub(crate) fn set_drained(&mut self, drain: DrainOrder, now: Time) -> bool {
        let was_drained = self.is_drained();
        self.drained = match drain {
            DrainOrder::Drain => {
                let new = || ReadinessProblem { reason: DRAINED.to_owned(), since: now };
                Some(self.drained.take().unwrap_or_else(new))
            }
            DrainOrder::Restore => None,
        };
        was_drained != self.is_drained()
    }

    /// Notes whether it is ready; returns whether that changed.
    pub(crate) fn set_readiness(&mut self, readiness: Readiness, now: Time) -> bool {
        let before = self.readiness_problem.take();
        let was_ready = before.is_none();
        if let Readiness::NotReady(reason) = readiness {
            self.readiness_problem =
                Some(ReadinessProblem { reason, since: before.map_or(now, |problem| problem.since) });
        }
        was_ready != self.readiness_problem.is_none()
    }

    /// The state of its breaker; closed when breakers are switched off.
    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, CircuitBreaker::state)
    }

    /// Records one check; returns the new state if it changed.
    pub(crate) fn check(&mut self, outcome: CheckOutcome, config: &HealthConfig) -> Option<HealthState> {
        match outcome {
            CheckOutcome::Passed => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let enough = match self.health {
                    HealthState::Pending => true,
                    HealthState::Unhealthy => {
                        self.cause == UnhealthyCause::Connection || self.successes >= config.successes.get()
                    }
                    HealthState::Healthy
                    | HealthState::NotReady
                    | HealthState::Draining
                    | HealthState::Gone => false,
                };
                let change = enough.then(|| self.set(HealthState::Healthy));
                if self.health == HealthState::Healthy {
                    self.problem = None;
                }
                change
            }
            CheckOutcome::Failed(_) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.cause = UnhealthyCause::Checks;
                let serving = matches!(self.health, HealthState::Pending | HealthState::Healthy);
                // A refused connection or silence on all connections needs no second check.
                let certain = outcome.is_certain() && self.health == HealthState::Healthy;
                let enough = serving && (certain || self.failures >= config.failures.get());
                enough.then(|| self.set(HealthState::Unhealthy))
            }
        }
    }

    /// What is wrong with the worker, if anything is.
    pub(crate) const fn problem(&self) -> Option<&HealthProblem> {
        self.problem.as_ref()
    }

    /// Notes why a check or a connection failed; returns whether the last one failed for another reason, or not at all.
    pub(crate) fn note_failure(&mut self, failure: WorkerFailure, now: Time) -> bool {
        let before = self.problem.take();
        self.was_refused |= failure.reason == FailureReason::ConnectionRefused;
        let is_new = before.as_ref().is_none_or(|problem| problem.failure.reason != failure.reason);
        self.problem = Some(HealthProblem { failure, since: before.map_or(now, |problem| problem.since) });
        is_new
    }

    /// Whether the process that is healthy now was started after the last one was; to be asked once it is.
    pub(crate) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.was_refused)
    }

    /// A request could not connect; returns the new state if it changed.
    pub(crate) fn unreachable(&mut self) -> Option<HealthState> {
        if self.health != HealthState::Healthy {
            return None;
        }
        self.cause = UnhealthyCause::Connection;
        Some(self.set(HealthState::Unhealthy))
    }

    /// Sets the state and resets the counts.
    pub(crate) fn set(&mut self, health: HealthState) -> HealthState {
        (self.health, self.failures, self.successes) = (health, 0, 0);
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use router_telemetry::FailureReason;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn config() -> HealthConfig {
        HealthConfig {
            path: "/health".parse().unwrap(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            failures: NonZeroU32::new(3).unwrap(),
            successes: NonZeroU32::new(2).unwrap(),
        }
    }

    /// `+` passed, `-` failed, `r` refused, `s` silent, `c` a request could not connect.
    fn run(news: &str) -> String {
        let mut health_state = WorkerHealth::new(None);
        let changes = news.chars().filter_map(|c| match c {
            '+' => health_state.check(CheckOutcome::Passed, &config()),
            'r' => health_state.check(CheckOutcome::Failed(FailureReason::ConnectionRefused), &config()),
            's' => health_state.check(CheckOutcome::Failed(FailureReason::Silent), &config()),
            'c' => health_state.unreachable(),
            _ => health_state.check(CheckOutcome::Failed(FailureReason::Status), &config()),
        });
        changes.map(|h| if h == HealthState::Healthy { 'H' } else { 'U' }).collect()
    }

    #[test]
    fn thresholds_count_checks_in_a_row() {
        assert_eq!(run("+"), "H", "the first good check starts traffic");
        assert_eq!(run("+--+--+"), "H", "two failures in a row are not three");
        assert_eq!(run("+---"), "HU");
        assert_eq!(run("+---+-+"), "HU", "recovery takes two in a row");
        assert_eq!(run("+---++"), "HUH");
        assert_eq!(run("---+"), "U", "a worker that never came up recovers like any other");
        assert_eq!(run("rr+"), "H", "a worker may take its time to come up");
    }

    #[test]
    fn problem_lasts_until_worker_is_healthy() {
        let mut health_state = WorkerHealth::new(None);
        let failure = |reason| WorkerFailure { reason, message: "why".to_owned() };
        let at = |secs: f64| Time::from_secs_f64(secs);
        assert!(health_state.note_failure(failure(FailureReason::Dns), at(1.0)));
        assert!(!health_state.note_failure(failure(FailureReason::Dns), at(2.0)));
        assert!(health_state.note_failure(failure(FailureReason::Certificate), at(3.0)));
        let problem = health_state.problem().unwrap();
        assert_eq!((problem.failure.reason, problem.since), (FailureReason::Certificate, at(1.0)));
        health_state.set(HealthState::Unhealthy);
        health_state.check(CheckOutcome::Passed, &config());
        assert!(health_state.problem().is_some(), "one passed check of two");
        health_state.check(CheckOutcome::Passed, &config());
        assert_eq!((health_state.health(), health_state.problem()), (HealthState::Healthy, None));
    }

    #[test]
    fn worker_that_is_not_ready_keeps_its_checks() {
        let mut health_state = WorkerHealth::new(None);
        let at = |secs: f64| Time::from_secs_f64(secs);
        let no = |reason: &str| Readiness::NotReady(reason.to_owned());
        assert!(health_state.set_readiness(no("starts"), at(1.0)));
        assert!(!health_state.set_readiness(no("probe failed"), at(2.0)), "it was not ready before");
        health_state.check(CheckOutcome::Passed, &config());
        assert_eq!(health_state.health(), HealthState::NotReady, "checks do not make it ready");
        let problem = health_state.readiness_problem().unwrap();
        assert_eq!((problem.reason.as_str(), problem.since), ("probe failed", at(1.0)));
        assert!(health_state.set_readiness(Readiness::Ready, at(3.0)));
        assert_eq!(health_state.health(), HealthState::Healthy, "the check that it passed counts");
        health_state.set(HealthState::Draining);
        health_state.set_readiness(no("stops"), at(4.0));
        assert_eq!(health_state.health(), HealthState::Draining, "nothing undoes a drain");
    }

    #[test]
    fn refused_and_silent_count_at_once() {
        assert_eq!(run("+r"), "HU");
        assert_eq!(run("+s+"), "HU");
        assert_eq!(run("+c"), "HU");
        assert_eq!(run("+c+"), "HUH", "a transient connection error ends with one passed check");
        assert_eq!(run("+cr+"), "HU", "an error that a check confirms takes two");
        assert_eq!(run("+cr++"), "HUH");
    }
}
