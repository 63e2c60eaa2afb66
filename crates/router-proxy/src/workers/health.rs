//! Background health checks.

use super::discovery::discover;
use super::{ExchangeError, FetchError, Health, Process, fetch};
use crate::router::Shared;
use http::StatusCode;
use router_config::HealthConfig;
use router_core::Rng;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tracing::debug;

/// Between two checks of a worker that is not healthy, or has just failed one: long enough not to be a burden,
/// short enough that a restarted worker is back within a second or two.
const RECHECK: Duration = Duration::from_secs(1);

/// A worker at work is asked to say something within so many intervals of its checks, or [`LEAST_SILENCE`].
const SILENT_INTERVALS: u32 = 2;

/// SGLang takes a second for every check, and a long prompt may keep it busy for another.
const LEAST_SILENCE: Duration = Duration::from_secs(2);

/// How one check ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Check {
    Passed,
    /// A bad answer, or a broken one.
    Failed,
    /// No answer in time.
    TimedOut,
    /// The door is closed.
    Refused,
    /// Not even that can be said.
    Unreachable,
    /// Neither the check nor any of the requests that it works on got a byte.
    Silent,
}

impl Check {
    /// Whether the worker is not to be had, as opposed to working badly.
    pub(super) const fn is_certain(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::Silent)
    }

    /// Whether requests that it has are better off elsewhere. One that refuses connections or calls itself unhealthy may
    /// be about to stop, and then ends what it has first; if it is dead, its connections break by themselves.
    pub(super) const fn is_hopeless(self) -> bool {
        matches!(self, Self::TimedOut | Self::Unreachable | Self::Silent)
    }
}

/// Checks one worker until it is gone. `lot` differs from worker to worker.
pub(crate) async fn watch((shared, worker): (Arc<Shared>, Arc<Process>), config: HealthConfig, lot: u64) {
    // Jitter keeps the checks of many workers, and of many routers, from falling on one moment.
    let mut jitter = Rng::seeded(lot);
    let mut known = false;
    loop {
        let outcome = check(&shared, &worker, &config).await;
        let comes = outcome == Check::Passed && worker.health() != Health::Healthy;
        // Where its ranks are to be candidates, it is asked for them before it gets requests.
        let asked = comes && worker.profile.load().is_ranked() && discover(&shared, &worker).await;
        // What comes up may be another program than the one that went down.
        let came = worker.checked(&shared, outcome, &config);
        known = asked || known && !came;
        worker.pool.sweep();
        let calm = outcome == Check::Passed && worker.health() == Health::Healthy;
        if calm && !known {
            known = discover(&shared, &worker).await;
        }
        let pause = if calm { config.interval } else { config.interval.min(RECHECK) };
        let pause = pause.mul_f64(0.9 + 0.2 * jitter.unit_f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = worker.recheck.notified() => {}
            () = worker.gone.cancelled() => return,
        }
    }
}

async fn check(shared: &Shared, worker: &Arc<Process>, config: &HealthConfig) -> Check {
    let before = worker.pulse.load(Relaxed);
    let mut answer = pin!(fetch(worker, &config.path, config.timeout));
    let patience = config.timeout.min(LEAST_SILENCE.max(config.interval * SILENT_INTERVALS));
    let answer = match tokio::time::timeout(patience, answer.as_mut()).await {
        Err(_) if !is_silent(shared, worker, before) => answer.await,
        in_time => in_time.unwrap_or(Err(FetchError::Timeout(patience))),
    };
    let outcome = match answer {
        Err(FetchError::Timeout(_)) if is_silent(shared, worker, before) => Check::Silent,
        answer => judge(answer),
    };
    if outcome != Check::Passed {
        debug!(worker = %worker.url, ?outcome, "health check failed");
    }
    outcome
}

/// Whether the worker has requests and nothing at all came from it since its pulse was `before`.
fn is_silent(shared: &Shared, worker: &Arc<Process>, before: u64) -> bool {
    if worker.pulse.load(Relaxed) != before {
        return false;
    }
    let ranks = shared.workers.of(worker);
    let balancer = shared.balancer.lock();
    ranks.iter().any(|rank| balancer.view(rank.id).is_some_and(|w| w.in_flight > 0))
}

fn judge(answer: Result<(StatusCode, bytes::Bytes), FetchError>) -> Check {
    match answer {
        Ok((status, _)) if status.is_success() => Check::Passed,
        Ok(_) => Check::Failed,
        Err(FetchError::Timeout(_)) => Check::TimedOut,
        Err(FetchError::Connection(ExchangeError::Connect { source, .. })) => {
            if source.kind() == std::io::ErrorKind::ConnectionRefused {
                Check::Refused
            } else {
                Check::Unreachable
            }
        }
        Err(_) => Check::Failed,
    }
}
