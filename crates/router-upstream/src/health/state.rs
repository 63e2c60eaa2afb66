//! What the router believes of one worker: a pure state machine fed with checks, connections and ends.

use super::breaker::Breaker;
use super::check::CheckOutcome;
use router_config::HealthConfig;
use router_telemetry::BreakerState;

/// Whether a worker is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthState {
    /// Not checked yet: gets no requests.
    Pending,
    /// Gets requests, as far as its breaker lets them through.
    Healthy,
    /// Failed its checks or cannot be reached: gets no requests.
    Unhealthy,
    /// Leaves: gets no new requests, its running ones end.
    Draining,
    /// Has left.
    Gone,
}

impl HealthState {
    /// The name of the state in answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Gone => "removed",
        }
    }
}

/// How an unhealthy worker was found out, which says how sure its recovery must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum UnhealthyCause {
    /// A request could not reach it. It may have been a moment's trouble, so one good check settles it.
    Connection,
    /// Its checks fail.
    Checks,
}

/// A worker's state, and what may change it.
#[derive(Debug)]
pub struct WorkerHealth {
    health: HealthState,
    failures: u32,
    successes: u32,
    cause: UnhealthyCause,
    /// Absent where breakers are switched off.
    pub(crate) breaker: Option<Breaker>,
}

impl WorkerHealth {
    pub(crate) const fn new(breaker: Option<Breaker>) -> Self {
        Self {
            health: HealthState::Pending,
            failures: 0,
            successes: 0,
            cause: UnhealthyCause::Checks,
            breaker,
        }
    }

    pub const fn health(&self) -> HealthState {
        self.health
    }

    /// What its breaker lets through; everything where there is none.
    pub fn breaker_state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }

    /// Takes one check in; the new state if it changed.
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
                    HealthState::Healthy | HealthState::Draining | HealthState::Gone => false,
                };
                enough.then(|| self.set(HealthState::Healthy))
            }
            failure => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.cause = UnhealthyCause::Checks;
                let serving = matches!(self.health, HealthState::Pending | HealthState::Healthy);
                // A closed door and silence on every line are no matter of opinion.
                let certain = failure.is_certain() && self.health == HealthState::Healthy;
                let enough = serving && (certain || self.failures >= config.failures.get());
                enough.then(|| self.set(HealthState::Unhealthy))
            }
        }
    }

    /// A request could not reach it; the new state if that changed it.
    pub(crate) fn unreachable(&mut self) -> Option<HealthState> {
        if self.health != HealthState::Healthy {
            return None;
        }
        self.cause = UnhealthyCause::Connection;
        Some(self.set(HealthState::Unhealthy))
    }

    /// Sets the state, and counts anew.
    pub(crate) fn set(&mut self, health: HealthState) -> HealthState {
        (self.health, self.failures, self.successes) = (health, 0, 0);
        health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            'r' => health_state.check(CheckOutcome::Refused, &config()),
            's' => health_state.check(CheckOutcome::Silent, &config()),
            'c' => health_state.unreachable(),
            _ => health_state.check(CheckOutcome::Failed, &config()),
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
    fn a_closed_door_and_silence_count_at_once() {
        assert_eq!(run("+r"), "HU");
        assert_eq!(run("+s+"), "HU");
        assert_eq!(run("+c"), "HU");
        assert_eq!(run("+c+"), "HUH", "a moment's evicted is over with one good check");
        assert_eq!(run("+cr+"), "HU", "evicted that a check confirms takes two");
        assert_eq!(run("+cr++"), "HUH");
    }
}
