//! Background health checks, and what a failed connection says about a worker.

use super::{Health, Standing, Worker, fetch};
use crate::config::HealthConfig;
use crate::router::Shared;
use router_core::{Change, Rng};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// Between two checks of a worker that is not healthy, or has just failed one: long enough not to be a burden,
/// short enough that a restarted worker is back within a second or two.
const RECHECK: Duration = Duration::from_secs(1);

/// How one check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    Passed,
    Failed,
}

/// Checks one worker until it is gone.
pub(crate) async fn watch(shared: Arc<Shared>, worker: Arc<Worker>, config: HealthConfig) {
    // Jitter keeps the checks of many workers, and of many routers, from falling on one moment.
    let mut jitter = Rng::seeded(worker.id.slot() as u64);
    loop {
        let outcome = check(&worker, &config).await;
        worker.checked(&shared, outcome, &config);
        worker.pool.sweep();
        let calm = outcome == Check::Passed && worker.health() == Health::Healthy;
        let pause = if calm { config.interval } else { config.interval.min(RECHECK) };
        let pause = pause.mul_f64(0.9 + 0.2 * jitter.unit_f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = worker.recheck.notified() => {}
            () = worker.gone.cancelled() => return,
        }
    }
}

async fn check(worker: &Worker, config: &HealthConfig) -> Check {
    match fetch(worker, &config.path, config.timeout).await {
        Ok((status, _)) if status.is_success() => Check::Passed,
        Ok((status, _)) => {
            debug!(worker = %worker.url, %status, "health check failed");
            Check::Failed
        }
        Err(error) => {
            debug!(worker = %worker.url, %error, "health check failed");
            Check::Failed
        }
    }
}

impl Standing {
    /// Takes one check in; the new state if it changed.
    fn check(&mut self, outcome: Check, config: &HealthConfig) -> Option<Health> {
        match outcome {
            Check::Passed => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let enough = match self.health {
                    Health::Pending => true,
                    Health::Unhealthy => self.successes >= config.successes.get(),
                    Health::Healthy | Health::Draining => false,
                };
                enough.then(|| self.become_(Health::Healthy))
            }
            Check::Failed => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                let lasting = matches!(self.health, Health::Unhealthy | Health::Draining);
                let enough = !lasting && self.failures >= config.failures.get();
                enough.then(|| self.become_(Health::Unhealthy))
            }
        }
    }

    fn become_(&mut self, health: Health) -> Health {
        *self = Self { health, failures: 0, successes: 0 };
        health
    }
}

impl Worker {
    fn checked(&self, shared: &Shared, outcome: Check, config: &HealthConfig) {
        let mut standing = self.standing.lock();
        if let Some(health) = standing.check(outcome, config) {
            // Told while the standing is locked, so that two changes cannot reach the balancer in the wrong order.
            self.announce(shared, health);
        }
    }

    /// Takes the worker for healthy without a check.
    pub(crate) fn trust(&self, shared: &Shared) {
        let mut standing = self.standing.lock();
        let health = standing.become_(Health::Healthy);
        self.announce(shared, health);
    }

    /// The worker refused a connection: it gets no more requests until its checks pass.
    ///
    /// Without health checks nothing could bring it back, so then it stays.
    pub(crate) fn unreachable(&self, shared: &Shared) {
        if shared.membership.health.is_none() {
            return;
        }
        let mut standing = self.standing.lock();
        if standing.health == Health::Healthy {
            let health = standing.become_(Health::Unhealthy);
            self.announce(shared, health);
        }
        drop(standing);
        self.recheck.notify_one();
    }

    /// The worker leaves: it gets no new requests, and no check brings it back.
    pub(crate) fn drain(&self, shared: &Shared) {
        let mut standing = self.standing.lock();
        let health = standing.become_(Health::Draining);
        self.announce(shared, health);
    }

    fn announce(&self, shared: &Shared, health: Health) {
        let routable = health == Health::Healthy;
        shared.balancer.lock().apply(shared.clock.now(), Change::Routable(self.id, routable));
        match health {
            Health::Unhealthy => warn!(worker = %self.url, "worker is {}", health.as_str()),
            Health::Pending | Health::Healthy | Health::Draining => {
                info!(worker = %self.url, "worker is {}", health.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn config() -> HealthConfig {
        HealthConfig {
            path: "/health".parse().unwrap(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            failures: NonZeroU32::new(3).unwrap(),
            successes: NonZeroU32::new(2).unwrap(),
        }
    }

    fn run(checks: &str) -> Vec<Health> {
        let mut standing = Standing { health: Health::Pending, failures: 0, successes: 0 };
        let outcomes = checks.chars().map(|c| if c == '+' { Check::Passed } else { Check::Failed });
        outcomes.filter_map(|o| standing.check(o, &config())).collect()
    }

    #[test]
    fn thresholds_count_checks_in_a_row() {
        assert_eq!(run("+"), [Health::Healthy], "the first good check starts traffic");
        assert_eq!(run("+--+--+"), [Health::Healthy], "two failures in a row are not three");
        assert_eq!(run("+---"), [Health::Healthy, Health::Unhealthy]);
        assert_eq!(run("+---+-+"), [Health::Healthy, Health::Unhealthy], "recovery takes two in a row");
        assert_eq!(run("+---++"), [Health::Healthy, Health::Unhealthy, Health::Healthy]);
        assert_eq!(run("---+"), [Health::Unhealthy], "a worker that never came up recovers like any other");
    }
}
