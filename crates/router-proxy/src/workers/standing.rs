//! What the router believes of one worker: a pure state machine fed with checks, connections and ends.

use super::breaker::Breaker;
use super::health::Check;
use router_config::HealthConfig;
use router_telemetry::BreakerState;

/// Whether a worker is well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
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

impl Health {
    /// The name of the state in answers and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Gone => "gone",
        }
    }
}

/// How an unhealthy worker was found out, which says how sure its recovery must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doubt {
    /// A request could not reach it. It may have been a moment's trouble, so one good check settles it.
    Connection,
    /// Its checks fail.
    Checks,
}

/// A worker's state, and what may change it.
#[derive(Debug)]
pub(crate) struct Standing {
    health: Health,
    failures: u32,
    successes: u32,
    doubt: Doubt,
    /// Absent where breakers are switched off.
    pub(super) breaker: Option<Breaker>,
}

impl Standing {
    pub(super) const fn new(breaker: Option<Breaker>) -> Self {
        Self { health: Health::Pending, failures: 0, successes: 0, doubt: Doubt::Checks, breaker }
    }

    pub(crate) const fn health(&self) -> Health {
        self.health
    }

    /// What its breaker lets through; everything where there is none.
    pub(crate) fn breaker_state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }

    /// Takes one check in; the new state if it changed.
    pub(super) fn check(&mut self, outcome: Check, config: &HealthConfig) -> Option<Health> {
        match outcome {
            Check::Passed => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let enough = match self.health {
                    Health::Pending => true,
                    Health::Unhealthy => {
                        self.doubt == Doubt::Connection || self.successes >= config.successes.get()
                    }
                    Health::Healthy | Health::Draining | Health::Gone => false,
                };
                enough.then(|| self.become_(Health::Healthy))
            }
            failure => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                self.doubt = Doubt::Checks;
                let serving = matches!(self.health, Health::Pending | Health::Healthy);
                // A closed door and silence on every line are no matter of opinion.
                let certain = failure.is_certain() && self.health == Health::Healthy;
                let enough = serving && (certain || self.failures >= config.failures.get());
                enough.then(|| self.become_(Health::Unhealthy))
            }
        }
    }

    /// A request could not reach it; the new state if that changed it.
    pub(super) fn unreachable(&mut self) -> Option<Health> {
        if self.health != Health::Healthy {
            return None;
        }
        self.doubt = Doubt::Connection;
        Some(self.become_(Health::Unhealthy))
    }

    /// Sets the state, and counts anew.
    pub(super) fn become_(&mut self, health: Health) -> Health {
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
        let mut standing = Standing::new(None);
        let changes = news.chars().filter_map(|c| match c {
            '+' => standing.check(Check::Passed, &config()),
            'r' => standing.check(Check::Refused, &config()),
            's' => standing.check(Check::Silent, &config()),
            'c' => standing.unreachable(),
            _ => standing.check(Check::Failed, &config()),
        });
        changes.map(|h| if h == Health::Healthy { 'H' } else { 'U' }).collect()
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
        assert_eq!(run("+c+"), "HUH", "a moment's trouble is over with one good check");
        assert_eq!(run("+cr+"), "HU", "trouble that a check confirms takes two");
        assert_eq!(run("+cr++"), "HUH");
    }
}
