//! Background health checks.

use crate::client::{ClientError, get};
use crate::connection_pool::UpstreamError;
use crate::discovery::discover;
use crate::health::{CheckOutcome, HealthState};
use crate::pool::WorkerPool;
use crate::worker::Worker;
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

/// Checks one worker until it is gone. `lot` differs from worker to worker.
pub async fn watch((pool, worker): (Arc<WorkerPool>, Arc<Worker>), config: HealthConfig, lot: u64) {
    // Jitter keeps the checks of many workers, and of many routers, from falling on one moment.
    let mut jitter = Rng::seeded(lot);
    let mut known = false;
    loop {
        let outcome = check(&pool, &worker, &config).await;
        let comes = outcome == CheckOutcome::Passed && worker.health() != HealthState::Healthy;
        // Where its ranks are to be candidates, it is asked for them before it gets requests.
        let asked = comes && worker.profile.load().is_ranked() && discover(&pool, &worker).await;
        // What comes up may be another program than the one that went down.
        let came = worker.checked(&pool, outcome, &config);
        known = asked || known && !came;
        worker.pool.evict_idle();
        let calm = outcome == CheckOutcome::Passed && worker.health() == HealthState::Healthy;
        if calm && !known {
            known = discover(&pool, &worker).await;
        }
        let pause = if calm { config.interval } else { config.interval.min(RECHECK) };
        let pause = pause.mul_f64(0.9 + 0.2 * jitter.unit_f64());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = worker.recheck.notified() => {}
            () = worker.removed.cancelled() => return,
        }
    }
}

async fn check(pool: &WorkerPool, worker: &Arc<Worker>, config: &HealthConfig) -> CheckOutcome {
    let before = worker.activity.load(Relaxed);
    let mut answer = pin!(get(worker, &config.path, config.timeout));
    let patience = config.timeout.min(LEAST_SILENCE.max(config.interval * SILENT_INTERVALS));
    let answer = match tokio::time::timeout(patience, answer.as_mut()).await {
        Err(_) if !is_silent(pool, worker, before) => answer.await,
        in_time => in_time.unwrap_or(Err(ClientError::Timeout(patience))),
    };
    let outcome = match answer {
        Err(ClientError::Timeout(_)) if is_silent(pool, worker, before) => CheckOutcome::Silent,
        answer => judge(answer),
    };
    if outcome != CheckOutcome::Passed {
        debug!(worker = %worker.url, ?outcome, "health check failed");
    }
    outcome
}

/// Whether the worker has requests and nothing at all came from it since its pulse was `before`.
fn is_silent(pool: &WorkerPool, worker: &Arc<Worker>, before: u64) -> bool {
    if worker.activity.load(Relaxed) != before {
        return false;
    }
    let ranks = pool.candidates.of(worker);
    let balancer = pool.balancer.lock();
    ranks.iter().any(|rank| balancer.view(rank.id).is_some_and(|w| w.in_flight > 0))
}

fn judge(answer: Result<(StatusCode, bytes::Bytes), ClientError>) -> CheckOutcome {
    match answer {
        Ok((status, _)) if status.is_success() => CheckOutcome::Passed,
        Ok(_) => CheckOutcome::Failed,
        Err(ClientError::Timeout(_)) => CheckOutcome::TimedOut,
        Err(ClientError::Connection(UpstreamError::Connect { source, .. })) => {
            if source.kind() == std::io::ErrorKind::ConnectionRefused {
                CheckOutcome::Refused
            } else {
                CheckOutcome::Unreachable
            }
        }
        Err(_) => CheckOutcome::Failed,
    }
}
