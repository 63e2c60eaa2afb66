//! The rules for further attempts, the same for whole and for split requests.

use crate::error::{ProxyError, is_overloaded};
use crate::proxy::request::ProxyRequest;
use crate::retry_budget::Withdrawal;
use crate::state::AppState;
use router_core::{RequestId, Rng, Route, WorkerId};
use router_telemetry::RetryReason;
use router_upstream::{Candidate, WorkerPool};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The attempts of one request, and the rules for one more.
#[derive(Debug)]
pub(crate) struct RetryState<'a> {
    state: &'a Arc<AppState>,
    route: Route,
    id: RequestId,
    deadline: Instant,
}

/// The right to make one more attempt. Dropped unused, it gives back what it took from the budget.
#[derive(Debug)]
#[must_use]
pub(crate) struct RetryPermit<'a> {
    state: &'a Arc<AppState>,
    route: Route,
    reason: RetryReason,
    withdrawal: Option<Withdrawal<'a>>,
}

impl RetryPermit<'_> {
    /// The attempt is made: it stays withdrawn from the budget, and is counted.
    pub(crate) fn spend(self) {
        if let Some(withdrawal) = self.withdrawal {
            withdrawal.keep();
        }
        self.state.main.telemetry.retried(self.route, self.reason);
    }
}

impl<'a> RetryState<'a> {
    /// The rules for `request`, which adds to the retry budget.
    pub(crate) fn new(request: &ProxyRequest<'a>, id: RequestId) -> Self {
        let ProxyRequest { state, origin, deadline, .. } = request;
        state.budget.deposit(origin.received_at);
        Self { state, route: origin.route, id, deadline: *deadline }
    }

    /// How long to wait before attempt `attempt` + 1 for this reason. An attempt in place of one whose connection broke,
    /// or whose worker became unhealthy, waits for nothing.
    fn backoff(&self, attempt: u32, reason: RetryReason) -> Duration {
        if matches!(reason, RetryReason::Disconnected | RetryReason::WorkerUnhealthy | RetryReason::Hedge) {
            return Duration::ZERO;
        }
        let retry = attempt + 1;
        let mut rng = Rng::seeded(self.id.0 ^ u64::from(retry).rotate_left(32));
        self.state.live().retry.backoff(retry, rng.unit_f64())
    }

    /// Waits for the backoff that is due after attempt `attempt`, where `has_candidate` says that another worker is
    /// there, and asks whether the rules allow one more attempt.
    pub(crate) async fn permit(
        &self,
        attempt: u32,
        reason: RetryReason,
        has_candidate: impl FnOnce() -> bool,
    ) -> Option<RetryPermit<'a>> {
        let pause = self.backoff(attempt, reason);
        if pause.is_zero() || !self.may_retry(attempt) || !has_candidate() {
            return self.permit_now(attempt, reason);
        }
        if Instant::now() + pause >= self.deadline {
            self.state.main.telemetry.retries_exhausted(self.route);
            return None;
        }
        // Reserved before the pause, so that of many requests that wait not more go on than the budget allows.
        let permit = self.permit_now(attempt, reason)?;
        self.state.main.telemetry.retry_delayed(pause);
        sleep(pause).await;
        Some(permit)
    }

    /// Asks whether the rules allow one more attempt after `attempt`, at once.
    pub(crate) fn permit_now(&self, attempt: u32, reason: RetryReason) -> Option<RetryPermit<'a>> {
        let state = self.state;
        if !self.may_retry(attempt) || Instant::now() >= self.deadline {
            if !reason.is_speculative() {
                state.main.telemetry.retries_exhausted(self.route);
            }
            return None;
        }
        let withdrawal = if reason.uses_budget() {
            let withdrawal = state.budget.withdraw(state.clock.now());
            if withdrawal.is_none() {
                state.main.telemetry.retry_budget_exhausted();
                return None;
            }
            withdrawal
        } else {
            None
        };
        Some(RetryPermit { state, route: self.route, reason, withdrawal })
    }

    /// Whether the configuration allows more attempts than `attempt` + 1.
    fn may_retry(&self, attempt: u32) -> bool {
        attempt < self.state.live().retry.max_retries
    }

    /// Until when a request that finds no worker waits for one from now on; absent where it does not wait.
    pub(crate) fn wait_until(&self) -> Option<Instant> {
        self.state.live().retry.queue.map(|patience| self.deadline.min(Instant::now() + patience))
    }
}

/// Takes note of what a failed attempt says about its worker; why the request may be tried elsewhere, if it may.
pub(crate) fn record_failure(
    pool: &WorkerPool,
    candidate: &Candidate,
    error: &ProxyError,
    retry_after: Option<Duration>,
) -> Option<RetryReason> {
    match error {
        ProxyError::Connect(cause) => {
            candidate.worker.mark_unreachable(pool, cause);
            Some(RetryReason::Disconnected)
        }
        ProxyError::Stale(_) => Some(RetryReason::Disconnected),
        ProxyError::Disconnected(_) => {
            // It may have died; its check tells before the next request does.
            candidate.worker.request_recheck();
            Some(RetryReason::Disconnected)
        }
        ProxyError::WorkerUnhealthy => Some(RetryReason::WorkerUnhealthy),
        ProxyError::Status(status) if is_overloaded(*status) => {
            pool.candidates.cool_down(candidate, pool.clock.now(), retry_after);
            Some(RetryReason::Overloaded)
        }
        error => error.is_retryable().then_some(RetryReason::Failed),
    }
}

/// Whether a routable candidate is not `excluded`.
pub(crate) fn has_untried(pool: &WorkerPool, excluded: &[WorkerId]) -> bool {
    let balancer = pool.balancer.lock();
    balancer.fleet().routable().iter().any(|id| !excluded.contains(id))
}
