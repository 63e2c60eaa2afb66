//! Background health checks.

use crate::client::{ClientError, get};
use crate::discovery::{Discovery, discover, find_place};
use crate::health::{HealthState, WorkerFailure};
use crate::pool::WorkerPool;
use crate::pool_model::Place;
use crate::shared_timer::sleep_together;
use crate::worker::Worker;
use router_config::HealthConfig;
use router_core::Rng;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;
use tracing::debug;

/// Pause between checks of a worker that is not healthy or failed its last check. A restarted worker is back within a
/// second or two.
const RECHECK: Duration = Duration::from_secs(1);

/// A worker with requests that sends nothing for this many check intervals, and at least [`MIN_SILENCE`], is silent.
const SILENT_INTERVALS: u32 = 2;

/// SGLang takes a second per check, and a long prompt may add another.
const MIN_SILENCE: Duration = Duration::from_secs(2);

/// A worker is asked again what it is after this long: another server may have taken its address between two checks.
const REDISCOVERY: Duration = Duration::from_secs(30);

/// The first time that a connection ends early, it is asked after this long; then after twice as long each time that it
/// is still the same, because some servers close all their connections early.
const SUSPICION_PAUSE: Duration = Duration::from_millis(250);

/// How long a worker may take to say what models it serves before it gets requests.
const PLACE_TIMEOUT: Duration = Duration::from_secs(5);

/// So many workers are checked at once for the first time, [`FIRST_CHECKS_APART`] after those before them.
const FIRST_CHECKS: u64 = 32;

/// How long after each other workers are checked for the first time: 1,024 of them within 31 ms.
const FIRST_CHECKS_APART: Duration = Duration::from_millis(1);

/// When a worker is asked what it is.
#[derive(Debug)]
struct DiscoverySchedule {
    /// When it last said what it is; absent while it has to be asked.
    asked_at: Option<Instant>,
    /// How long it is not asked again although a connection ended early.
    suspicion_pause: Duration,
}

impl Default for DiscoverySchedule {
    fn default() -> Self {
        Self { asked_at: None, suspicion_pause: SUSPICION_PAUSE }
    }
}

impl DiscoverySchedule {
    /// How long until the worker is asked again.
    fn due_in(&self, is_suspected: bool) -> Duration {
        let pause = if is_suspected { self.suspicion_pause } else { REDISCOVERY };
        self.asked_at.map_or(Duration::ZERO, |at| pause.saturating_sub(at.elapsed()))
    }

    /// The worker was asked.
    fn record(&mut self, discovery: Discovery, is_suspected: bool) {
        self.suspicion_pause = match discovery {
            Discovery::Same if is_suspected => REDISCOVERY.min(self.suspicion_pause * 2),
            _ => SUSPICION_PAUSE,
        };
        self.asked_at = (discovery != Discovery::Nothing).then(Instant::now);
    }
}

/// Checks one worker until it is removed, as its configuration says at the time. `seed` is the slot of its first candidate: the
/// jitter differs between workers, and so does the time of the first check.
pub(crate) async fn run_health_checks(pool: Arc<WorkerPool>, worker: Arc<Worker>, seed: u64) {
    // Jitter spreads the checks of many workers and routers over time.
    let mut jitter = Rng::seeded(seed);
    let mut schedule = DiscoverySchedule::default();
    // The first workers are in service before the last ones are asked: the answers of all would wait for all questions.
    let first_pause = FIRST_CHECKS_APART * u32::try_from(seed / FIRST_CHECKS).unwrap_or(0);
    tokio::select! {
        biased;
        () = worker.removed.cancelled() => return,
        () = tokio::time::sleep(first_pause) => {}
    }
    loop {
        let config = worker.health_config.load_full();
        let interval = match &config {
            None if worker.checked_health() == HealthState::Healthy && worker.has_told_models() => {
                Some(REDISCOVERY)
            }
            None => match place_of(&pool, &worker).await {
                Place::Here => {
                    worker.mark_healthy(&pool);
                    Some(REDISCOVERY)
                }
                Place::Elsewhere => None,
            },
            Some(config) => check_once(&pool, &worker, config, &mut schedule).await,
        };
        let is_told = worker.is_watched.load(Relaxed) && schedule.asked_at.is_some();
        let is_suspected = worker.recheck.is_suspected();
        if interval.is_some() && (is_suspected || !is_told) && schedule.due_in(is_suspected).is_zero() {
            let is_suspected = worker.recheck.take_suspicion();
            schedule.record(discover(&pool, &worker).await, is_suspected);
        }
        let pause = match interval {
            Some(interval) if schedule.asked_at.is_some() => {
                interval.min(schedule.due_in(worker.recheck.is_suspected()))
            }
            Some(interval) => interval,
            None => config.map_or(RECHECK, |config| config.interval.min(RECHECK)),
        };
        let pause = pause.mul_f64(0.9 + 0.2 * jitter.unit_f64());
        tokio::select! {
            // First, because a worker that drains must not be marked as healthy.
            biased;
            () = worker.removed.cancelled() => return,
            () = worker.health_config_changed.notified() => {}
            () = worker.recheck.requested() => {}
            () = sleep_together(pool.started_at, pause) => {}
        }
    }
}

/// Checks a worker, and asks what has to be known of it before it gets requests. Returns how long the next check may wait, if the
/// worker is healthy.
async fn check_once(
    pool: &Arc<WorkerPool>,
    worker: &Arc<Worker>,
    config: &HealthConfig,
    schedule: &mut DiscoverySchedule,
) -> Option<Duration> {
    let outcome = check(pool, worker, config).await;
    let is_passed = outcome.is_ok();
    let would_become_healthy = is_passed && worker.checked_health() != HealthState::Healthy;
    if would_become_healthy && place_of(pool, worker).await == Place::Elsewhere {
        return None;
    }
    if !is_passed && !worker.has_told_models() {
        // What it serves remains unknown for now, and nobody waits for it.
        pool.place(worker, false);
    }
    // Ranks become candidates, and outdated weights keep requests away, so both are discovered before requests are sent.
    let is_asked =
        would_become_healthy && (worker.profile.load().is_ranked() || pool.weights.version().is_some());
    let discovery = if is_asked { discover(pool, worker).await } else { Discovery::Nothing };
    match discovery {
        Discovery::Misplaced => return None,
        Discovery::Nothing => {}
        Discovery::Same | Discovery::Changed => schedule.asked_at = Some(Instant::now()),
    }
    // A restarted worker may run another model or engine.
    if worker.checked(pool, outcome, config) && discovery == Discovery::Nothing {
        schedule.asked_at = None;
    }
    worker.transport.evict_idle();
    (is_passed && worker.checked_health() == HealthState::Healthy).then_some(config.interval)
}

/// Whether a worker that is about to get requests belongs to its pool.
async fn place_of(pool: &Arc<WorkerPool>, worker: &Arc<Worker>) -> Place {
    if !pool.model.matters() {
        return Place::Here;
    }
    // A server that accepts the question and never answers is not kept waiting for it.
    tokio::time::timeout(PLACE_TIMEOUT, find_place(pool, worker))
        .await
        .unwrap_or_else(|_| pool.place(worker, false))
}

async fn check(pool: &WorkerPool, worker: &Arc<Worker>, config: &HealthConfig) -> Result<(), WorkerFailure> {
    // A worker that tells its state need not be asked. One that has requests is, because it may hang without a word.
    let is_told = worker.is_watched.load(Relaxed) && worker.checked_health() == HealthState::Healthy;
    if is_told && !pool.has_requests(worker) {
        return Ok(());
    }
    let before = worker.activity.load(Relaxed);
    let mut response = pin!(get(worker, &config.path, config.timeout));
    let timeout = config.timeout.min(MIN_SILENCE.max(config.interval * SILENT_INTERVALS));
    let response = match tokio::time::timeout(timeout, response.as_mut()).await {
        Err(_) if !is_silent(pool, worker, before) => response.await,
        in_time => in_time.unwrap_or(Err(ClientError::Timeout(timeout))),
    };
    let outcome = match response {
        Err(ClientError::Timeout(_)) if is_silent(pool, worker, before) => Err(WorkerFailure::silent()),
        Err(error) => Err(WorkerFailure::of_check(&error, &worker.target)),
        Ok((status, _)) if status.is_success() => Ok(()),
        Ok((status, _)) => Err(WorkerFailure::of_status(status, &worker.target, &config.path)),
    };
    if let Err(failure) = &outcome {
        debug!(worker = %worker.url, reason = failure.reason.as_str(), cause = failure.message, "health check failed");
    }
    outcome
}

/// Whether the worker has requests in flight and sent nothing since its activity count was `before`.
fn is_silent(pool: &WorkerPool, worker: &Arc<Worker>, before: u64) -> bool {
    if worker.activity.load(Relaxed) != before {
        return false;
    }
    pool.has_requests(worker)
}
