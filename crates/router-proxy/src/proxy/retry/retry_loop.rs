//! One whole request from worker to worker until one responds: retries, moves away from unhealthy workers, and hedges.
//!
//! Each attempt is a dispatch of its own that leaves out the workers that were tried. While an attempt waits for its
//! first byte, three things may end the wait: its deadline, its worker becoming unhealthy, and a hedge that is faster.

use super::deadline::FirstByteDeadline;
use super::retry_state::{RetryPermit, RetryState, has_untried, record_failure};
use crate::dispatch::{Dispatcher, ExcludedWorkers, LastResort};
use crate::error::ProxyError;
use crate::lease::{ClientRid, Lease};
use crate::proxy::attempt::UpstreamResponse;
use crate::proxy::buffered_response::BufferedResponse;
use crate::proxy::rejection::Rejection;
use crate::proxy::request::ProxyRequest;
use crate::response::RouterBody;
use http::Response;
use router_core::{NoWorker, Outcome, RequestFeatures};
use router_telemetry::RetryReason;
use router_upstream::Availability;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use tokio::time::{Sleep, sleep};

/// The loop over the attempts of one request.
#[derive(Debug)]
pub(crate) struct RetryLoop<'a> {
    request: &'a ProxyRequest<'a>,
    features: RequestFeatures<'a>,
    dispatcher: Dispatcher<'a>,
    retry: RetryState<'a>,
    excluded: ExcludedWorkers,
    /// The response that the client gets if none is better.
    fallback: Option<BufferedResponse>,
    /// Whether a worker has failed on this request.
    has_failed: bool,
}

/// How the wait for a first byte ended.
#[expect(
    clippy::large_enum_variant,
    reason = "every request has the large one, which must not cost an allocation"
)]
enum FirstByteOutcome {
    /// The first attempt ended.
    Completed(Result<UpstreamResponse, ProxyError>),
    /// The hedge was faster.
    HedgeWon(Box<(Lease, UpstreamResponse)>),
    /// The worker became unhealthy, and another one is found.
    Moved(Box<Lease>),
}

/// A hedge on its way: the second copy of a slow request, with its lease.
type HedgedAttempt<'a> =
    Pin<Box<dyn Future<Output = (Lease, Result<UpstreamResponse, ProxyError>)> + Send + 'a>>;

impl<'a> RetryLoop<'a> {
    pub(crate) fn new(
        request: &'a ProxyRequest<'a>,
        features: RequestFeatures<'a>,
        rid: ClientRid<'a>,
        excluded: ExcludedWorkers,
    ) -> Self {
        let retry = RetryState::new(request, features.id);
        let dispatcher = request.dispatcher(rid);
        Self { request, features, dispatcher, retry, excluded, fallback: None, has_failed: false }
    }

    /// Makes attempts until one succeeds or none is left.
    pub(crate) async fn run(mut self) -> Result<Response<RouterBody>, Rejection> {
        let request = self.request;
        let mut lease = match self.dispatcher.try_dispatch(&self.features, self.excluded.ids()) {
            Some(lease) => lease,
            None => Box::pin(self.first_worker()).await?,
        };
        loop {
            let (mut lease_of_end, result) = match self.first_byte(&mut lease).await {
                FirstByteOutcome::Moved(next) => {
                    lease.set_error(ProxyError::WorkerUnhealthy.code());
                    lease.abort(Outcome::Failed);
                    lease = *next;
                    continue;
                }
                FirstByteOutcome::Completed(result) => (lease, result),
                FirstByteOutcome::HedgeWon(won) => (won.0, Ok(won.1)),
            };
            match result {
                Ok(response) => {
                    let Some(reason) = response.retry_reason(request.origin.route) else {
                        return Ok(self.forward_response(response, lease_of_end));
                    };
                    self.record_rejection(&response, reason, &mut lease_of_end);
                    let Some(next) = Box::pin(self.next_attempt(reason)).await else {
                        return self.finish_exhausted(response, lease_of_end, reason);
                    };
                    Box::pin(self.buffer_response(response, lease_of_end, reason)).await;
                    lease = next;
                }
                Err(error) => {
                    let reason = self.fail(&mut lease_of_end, &error);
                    drop(lease_of_end);
                    lease = Box::pin(self.replace(error, reason)).await?;
                }
            }
        }
    }

    /// Waits for the first byte, from this worker or a better one.
    async fn first_byte(&mut self, lease: &mut Lease) -> FirstByteOutcome {
        let request = self.request;
        self.excluded.exclude(&lease.candidate, &request.pool.candidates);
        let worker = Arc::clone(&lease.candidate.worker);
        let mut evicted = pin!(worker.evicted.notified());
        let deadline = FirstByteDeadline::new(&request.state.live().limits, request.deadline);
        let mut timeout = pin!(request.origin.timer.until(deadline.until));
        let mut hedge_delay = self.hedge_delay();
        let mut hedge: Option<HedgedAttempt<'a>> = None;
        let mut attempt = pin!(request.attempt(lease));
        let mut failed = None;
        loop {
            tokio::select! {
                biased;
                result = &mut attempt, if failed.is_none() => match result {
                    Err(error) if hedge.is_some() => failed = Some(error),
                    result => return FirstByteOutcome::Completed(result),
                },
                (lease, result) = poll_some(&mut hedge) => {
                    hedge = None;
                    match result {
                        Ok(response) if response.retry_reason(request.origin.route).is_none() => {
                            request.state.main.telemetry.hedge_won();
                            return FirstByteOutcome::HedgeWon(Box::new((lease, response)));
                        }
                        // A failed hedge is ignored while the first attempt is pending.
                        result => self.discard_hedge(lease, result),
                    }
                    if let Some(error) = failed.take() {
                        return FirstByteOutcome::Completed(Err(error));
                    }
                }
                () = &mut evicted, if failed.is_none() && hedge.is_none() => {
                    if let Some(next) = self.dispatch_retry(RetryReason::WorkerUnhealthy) {
                        return FirstByteOutcome::Moved(Box::new(next));
                    }
                    evicted.set(worker.evicted.notified());
                }
                () = &mut timeout => return FirstByteOutcome::Completed(Err(deadline.error())),
                () = poll_some(&mut hedge_delay) => {
                    hedge_delay = None;
                    hedge = self.dispatch_retry(RetryReason::Hedge).map(|lease| self.start_hedge(lease));
                }
            }
        }
    }

    /// When a hedge is to be sent, if ever.
    fn hedge_delay(&self) -> Option<Pin<Box<Sleep>>> {
        let live = self.request.state.live();
        let hedging = live.hedging.as_ref().filter(|_| !self.features.stream)?;
        Some(Box::pin(sleep(hedging.current()?)))
    }

    fn start_hedge(&mut self, lease: Lease) -> HedgedAttempt<'a> {
        let request = self.request;
        self.excluded.exclude(&lease.candidate, &request.pool.candidates);
        Box::pin(async move {
            let result = request.attempt(&lease).await;
            (lease, result)
        })
    }

    /// Ends a hedge that failed.
    fn discard_hedge(&self, mut lease: Lease, result: Result<UpstreamResponse, ProxyError>) {
        match result {
            Ok(response) => lease.finish_rejected(response.parts.status, response.outcome),
            Err(error) => {
                self.fail(&mut lease, &error);
            }
        }
    }

    /// Passes the response on to the client.
    fn forward_response(&self, response: UpstreamResponse, lease: Lease) -> Response<RouterBody> {
        let state = self.request.state;
        if let Some(hedging) = &state.live().hedging
            && !self.features.stream
        {
            hedging.record_latency(lease.sent_at(), state.clock.now());
        }
        self.request.forward_response(response, lease)
    }

    /// Takes note of what a worker's rejection says about it.
    fn record_rejection(&mut self, response: &UpstreamResponse, reason: RetryReason, lease: &mut Lease) {
        if reason == RetryReason::Overloaded {
            let pool = self.request.pool;
            pool.candidates.cool_down(&lease.candidate, pool.clock.now(), response.retry_after(&pool.clock));
            if !self.dispatcher.rid.is_given() {
                self.excluded.readmit_ranks(&lease.candidate, &pool.candidates);
            }
        } else if std::mem::replace(&mut self.has_failed, true) {
            // A second worker failed: the request may be at fault, so the breaker does not count it.
            lease.exempt_from_breaker();
        }
    }

    /// Ends an attempt that got no response; why there may be another one, if there may.
    fn fail(&self, lease: &mut Lease, error: &ProxyError) -> Option<RetryReason> {
        lease.set_error(error.code());
        let reason = record_failure(self.request.pool, &lease.candidate, error, None);
        if matches!(error, ProxyError::Timeout(_) | ProxyError::NoFirstByte(_)) {
            lease.abort(Outcome::Failed);
        }
        lease.finish_as(error.outcome());
        reason
    }

    /// A worker for one more attempt at once, after the backoff that is due.
    async fn next_attempt(&mut self, reason: RetryReason) -> Option<Lease> {
        let permit = self.permit(reason).await?;
        self.dispatch_with(permit, reason)
    }

    /// A worker for a speculative attempt, without a wait.
    fn dispatch_retry(&mut self, reason: RetryReason) -> Option<Lease> {
        let permit = self.retry.permit_now(self.features.attempt, reason)?;
        self.dispatch_with(permit, reason)
    }

    async fn permit(&self, reason: RetryReason) -> Option<RetryPermit<'a>> {
        let (pool, excluded) = (self.request.pool, &self.excluded);
        self.retry.permit(self.features.attempt, reason, || has_untried(pool, excluded.ids())).await
    }

    fn dispatch_with(&mut self, permit: RetryPermit<'_>, reason: RetryReason) -> Option<Lease> {
        let last_resort = if reason.is_speculative() { LastResort::Forbidden } else { LastResort::Allowed };
        self.features.attempt += 1;
        match self.dispatch(last_resort) {
            Ok(lease) => {
                permit.spend();
                Some(lease)
            }
            Err(NoWorker) => {
                self.features.attempt -= 1;
                None
            }
        }
    }

    fn dispatch(&self, last_resort: LastResort) -> Result<Lease, NoWorker> {
        self.dispatcher.dispatch(&self.features, self.excluded.ids(), last_resort)
    }

    /// A worker for the first attempt, waiting for one if that is configured.
    async fn first_worker(&mut self) -> Result<Lease, ProxyError> {
        let until = self.retry.wait_until();
        self.dispatcher.first_worker(&self.features, &mut self.excluded, until).await
    }

    /// A worker in place of one that failed with `error`, waiting for one where the rules allow the attempt.
    async fn replace(&mut self, error: ProxyError, reason: Option<RetryReason>) -> Result<Lease, Rejection> {
        let permit = match reason {
            Some(reason) => self.permit(reason).await.map(|permit| (permit, reason)),
            None => None,
        };
        if let Some((permit, reason)) = permit {
            // Those that wait in the queue have no attempt yet; this request had one and does not wait behind them.
            self.features.attempt += 1;
            if let Some(lease) = self.replacement(reason).await {
                permit.spend();
                return Ok(lease);
            }
            self.features.attempt -= 1;
        }
        Err(match self.fallback.take() {
            Some(fallback) => exhausted(fallback),
            None => error.into(),
        })
    }

    async fn replacement(&mut self, reason: RetryReason) -> Option<Lease> {
        if let Ok(lease) = self.dispatch(LastResort::Allowed) {
            return Some(lease);
        }
        let (dispatcher, pool) = (self.dispatcher, self.request.pool);
        let is_waiting_useful = pool.capacity.is_capped()
            && pool.availability(&self.features, self.excluded.ids()) == Availability::AtCapacity;
        if is_waiting_useful
            && let Ok(lease) = dispatcher.dispatch_or_wait(&self.features, self.excluded.ids()).await
        {
            return Some(lease);
        }
        let until = self.retry.wait_until();
        dispatcher.wait_for_service(&self.features, &mut self.excluded, until, Some(reason)).await
    }

    /// No attempt is left: the client gets the best of the responses.
    fn finish_exhausted(
        &mut self,
        response: UpstreamResponse,
        mut lease: Lease,
        reason: RetryReason,
    ) -> Result<Response<RouterBody>, Rejection> {
        match self.fallback.take().filter(|fallback| fallback.is_better_than(reason)) {
            Some(fallback) => {
                lease.finish_rejected(response.parts.status, response.outcome);
                Err(exhausted(fallback))
            }
            None => {
                let error = ProxyError::Exhausted {
                    status: response.parts.status,
                    is_overloaded: reason == RetryReason::Overloaded,
                };
                self.request.pool.telemetry.worker_error_forwarded(self.request.origin.route, error.code());
                Ok(self.request.forward_response(response, lease))
            }
        }
    }

    /// Keeps a rejection for the client, in case no later response is better.
    async fn buffer_response(&mut self, response: UpstreamResponse, mut lease: Lease, reason: RetryReason) {
        lease.finish_rejected(response.parts.status, response.outcome);
        if self.fallback.as_ref().is_none_or(|fallback| !fallback.is_better_than(reason)) {
            let buffered = BufferedResponse::read(response, &lease.candidate, reason).await;
            self.fallback = buffered.or(self.fallback.take());
        }
    }
}

/// The rejection of a request for which `fallback` is the best response.
fn exhausted(fallback: BufferedResponse) -> Rejection {
    let (status, is_overloaded) = (fallback.status(), fallback.is_overloaded());
    Rejection { fallback: Some(Box::new(fallback)), ..ProxyError::Exhausted { status, is_overloaded }.into() }
}

/// The output of a future that may not be there; then it never comes.
async fn poll_some<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
