//! One request from worker to worker until one answers: retries, moves away from trouble, and second copies.
//!
//! Each attempt is a dispatch of its own that leaves out the workers that were tried. While an attempt waits for its
//! first byte, three things may end the wait: its time, trouble on its worker, and a second copy that is faster.

use super::Vacancy;
use super::attempt::{Answer, Tone};
use super::body::RouterBody;
use super::forward::Exchange;
use super::kept::Kept;
use super::tried::Tried;
use crate::error::{ProxyError, Retry};
use crate::lease::Lease;
use http::Response;
use router_core::{NoWorker, Outcome, RequestFeatures, Rng};
use router_telemetry::RetryReason;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// One request on its way.
#[derive(Debug)]
pub(super) struct Journey<'a> {
    exchange: &'a Exchange<'a>,
    features: RequestFeatures<'a>,
    /// SGLang's own id of the request, if the client gave one: by it, a worker can be told to stop.
    rid: Option<&'a str>,
    tried: Tried,
    /// The answer that the client gets if none is better.
    kept: Option<Kept>,
    /// Whether a worker has answered that it failed.
    faulted: bool,
}

/// How the wait for a first byte ended.
enum Ending {
    /// The attempt that was begun with ended.
    Over(Result<Answer, ProxyError>),
    /// The second copy was faster.
    Won(Box<(Lease, Answer)>),
    /// The worker is in trouble, and another one has a seat.
    Moved(Lease),
}

/// A second copy: it brings its lease along.
type Rival<'a> = Pin<Box<dyn Future<Output = (Lease, Result<Answer, ProxyError>)> + Send + 'a>>;

impl<'a> Journey<'a> {
    pub(super) fn new(
        exchange: &'a Exchange<'a>,
        features: RequestFeatures<'a>,
        rid: Option<&'a str>,
    ) -> Self {
        Self { exchange, features, rid, tried: Tried::default(), kept: None, faulted: false }
    }

    /// Attempts until one is answered or none is left.
    pub(super) async fn run(mut self) -> Result<Response<RouterBody>, ProxyError> {
        let exchange = self.exchange;
        exchange.shared.budget.earn(exchange.call.received_at);
        let mut lease = match self.seat_at_once() {
            Some(lease) => lease,
            None => Box::pin(self.wait_for_worker(None)).await?,
        };
        loop {
            let (mut lease_of_end, result) = match self.first_byte(&mut lease).await {
                Ending::Moved(next) => {
                    lease.blame("worker_in_trouble");
                    lease.abandon(Outcome::Failed);
                    lease = next;
                    continue;
                }
                Ending::Over(result) => (lease, result),
                Ending::Won(won) => (won.0, Ok(won.1)),
            };
            match result {
                Ok(answer) => {
                    let detour = match answer.tone(exchange.route) {
                        Tone::Final => return Ok(self.arrive(answer, lease_of_end)),
                        Tone::Busy => RetryReason::Overloaded,
                        Tone::Fault => RetryReason::Failed,
                    };
                    self.note(&answer, detour, &mut lease_of_end);
                    let Some(next) = Box::pin(self.next(detour)).await else {
                        return self.conclude(answer, lease_of_end, detour);
                    };
                    Box::pin(self.keep(answer, lease_of_end, detour)).await;
                    lease = next;
                }
                Err(error) => {
                    let detour = self.fail(&mut lease_of_end, &error);
                    drop(lease_of_end);
                    let next = match detour {
                        Some(detour) => Box::pin(self.next(detour)).await,
                        None => None,
                    };
                    lease = match next {
                        Some(next) => next,
                        None => Box::pin(self.wait_for_worker(Some(error))).await?,
                    };
                }
            }
        }
    }

    /// Waits for the first byte, from this worker or a better one.
    async fn first_byte(&mut self, lease: &mut Lease) -> Ending {
        let exchange = self.exchange;
        self.tried.ask(&lease.worker, &exchange.shared.workers);
        let worker = Arc::clone(&lease.worker);
        let mut trouble = pin!(worker.trouble.notified());
        let limits = &exchange.shared.limits;
        let patience = limits.first_byte.map(|bound| (bound, Instant::now() + bound));
        let patience = patience.filter(|(_, until)| *until < exchange.deadline);
        let until = patience.map_or(exchange.deadline, |(_, until)| until);
        let mut time = pin!(exchange.call.alarm.until(until));
        let mut hedge = self.hedge();
        let mut rival: Option<Rival<'a>> = None;
        let mut attempt = pin!(exchange.attempt(lease));
        let mut failed = None;
        loop {
            tokio::select! {
                biased;
                result = &mut attempt, if failed.is_none() => match result {
                    Err(error) if rival.is_some() => failed = Some(error),
                    result => return Ending::Over(result),
                },
                (lease, result) = polled(&mut rival) => {
                    rival = None;
                    match result {
                        Ok(answer) if answer.tone(exchange.route) == Tone::Final => {
                            exchange.shared.records.hedge_won();
                            return Ending::Won(Box::new((lease, answer)));
                        }
                        // A bad second copy is no news as long as the first one may still come.
                        result => self.lose(lease, result),
                    }
                    if let Some(error) = failed.take() {
                        return Ending::Over(Err(error));
                    }
                }
                () = &mut trouble, if failed.is_none() && rival.is_none() => {
                    if let Some(next) = self.take_seat(RetryReason::WorkerUnhealthy) {
                        return Ending::Moved(next);
                    }
                    trouble.set(worker.trouble.notified());
                }
                () = &mut time => return Ending::Over(Err(match patience {
                    Some((bound, _)) => ProxyError::NoFirstByte(bound),
                    None => ProxyError::Timeout(limits.timeout),
                })),
                () = polled(&mut hedge) => {
                    hedge = None;
                    rival = self.take_seat(RetryReason::Hedge).map(|lease| self.race(lease));
                }
            }
        }
    }

    /// When a second copy is to be sent, if ever.
    fn hedge(&self) -> Option<Pin<Box<Sleep>>> {
        let hedging = self.exchange.shared.hedging.as_ref().filter(|_| !self.features.stream)?;
        Some(Box::pin(sleep(hedging.wait()?)))
    }

    fn race(&mut self, lease: Lease) -> Rival<'a> {
        let exchange = self.exchange;
        self.tried.ask(&lease.worker, &exchange.shared.workers);
        Box::pin(async move {
            let result = exchange.attempt(&lease).await;
            (lease, result)
        })
    }

    /// A second copy that came to nothing.
    fn lose(&self, mut lease: Lease, result: Result<Answer, ProxyError>) {
        match result {
            Ok(answer) => lease.refused(answer.parts.status),
            Err(error) => {
                self.fail(&mut lease, &error);
            }
        }
    }

    /// Passes the answer on.
    fn arrive(&self, answer: Answer, lease: Lease) -> Response<RouterBody> {
        let shared = self.exchange.shared;
        if let Some(hedging) = &shared.hedging
            && !self.features.stream
        {
            hedging.answered(lease.sent_at(), shared.clock.now());
        }
        self.exchange.relay(answer, lease)
    }

    /// Takes note of what a worker's refusal says about it.
    fn note(&mut self, answer: &Answer, detour: RetryReason, lease: &mut Lease) {
        if detour == RetryReason::Overloaded {
            let shared = self.exchange.shared;
            shared.workers.spare(&lease.worker, shared.clock.now(), answer.retry_after());
            if self.rid.is_none() {
                self.tried.relent(&lease.worker, &shared.workers);
            }
        } else if std::mem::replace(&mut self.faulted, true) {
            // Another worker failed on this request, too, so it may be the request that is at fault.
            lease.excuse();
        }
    }

    /// Ends an attempt that got no answer; how it may go on, if it may.
    fn fail(&self, lease: &mut Lease, error: &ProxyError) -> Option<RetryReason> {
        lease.blame(error.code());
        let detour = match error {
            ProxyError::Connect(_) => {
                lease.worker.unreachable(self.exchange.shared);
                Some(RetryReason::Disconnected)
            }
            ProxyError::Broken(_) => {
                // It may have died; its check will tell before the next request does.
                lease.worker.doubt();
                Some(RetryReason::Disconnected)
            }
            ProxyError::Timeout(_) => {
                lease.abandon(Outcome::Failed);
                None
            }
            ProxyError::NoFirstByte(_) => {
                lease.abandon(Outcome::Failed);
                Some(RetryReason::Failed)
            }
            error if error.retry() != Retry::Never => Some(RetryReason::Failed),
            _ => None,
        };
        lease.give_up(Outcome::Failed);
        detour
    }

    /// The next attempt's seat, after the wait that is due.
    async fn next(&mut self, detour: RetryReason) -> Option<Lease> {
        let exchange = self.exchange;
        let retry = self.features.attempt + 1;
        let mut lot = Rng::seeded(self.features.id.0 ^ u64::from(retry).rotate_left(32));
        let pause = exchange.shared.retry.backoff(retry, lot.unit_f64());
        if detour != RetryReason::Disconnected && !pause.is_zero() && self.has_untried() {
            if Instant::now() + pause >= exchange.deadline {
                return None;
            }
            exchange.shared.records.retry_delayed(pause);
            sleep(pause).await;
        }
        self.take_seat(detour)
    }

    /// Whether waiting for another attempt makes sense.
    fn has_untried(&self) -> bool {
        let balancer = self.exchange.shared.balancer.lock();
        balancer.fleet().routable().iter().any(|id| !self.tried.contains(id))
    }

    /// A seat on a worker that was not tried, if the rules allow another attempt and there is one.
    fn take_seat(&mut self, detour: RetryReason) -> Option<Lease> {
        let (exchange, shared) = (self.exchange, self.exchange.shared);
        if self.features.attempt >= shared.retry.max_retries || Instant::now() >= exchange.deadline {
            if !detour.is_speculative() {
                shared.records.retries_exhausted(exchange.route);
            }
            return None;
        }
        let now = shared.clock.now();
        if detour.uses_budget() && !shared.budget.allows(now) {
            shared.records.retry_budget_exhausted();
            return None;
        }
        self.features.attempt += 1;
        let Ok(lease) = self.dispatch(detour) else {
            self.features.attempt -= 1;
            return None;
        };
        if detour.uses_budget() {
            shared.budget.spend(now);
        }
        shared.records.retried(exchange.route, detour);
        Some(lease)
    }

    fn dispatch(&self, detour: RetryReason) -> Result<Lease, NoWorker> {
        let exchange = self.exchange;
        let lease = exchange.dispatch(&self.features, &self.tried);
        // Waiting or well served requests need no worker that others are kept from.
        let lease = match lease {
            Err(NoWorker)
                if !detour.is_speculative()
                    && exchange.shared.vacancy(&self.features, &self.tried) == Vacancy::Never
                    && exchange.shared.last_resort(&self.tried) =>
            {
                exchange.dispatch(&self.features, &self.tried)
            }
            lease => lease,
        };
        lease.map(|lease| lease.with_rid(self.rid))
    }

    /// A seat on any worker, if nobody waits for one.
    fn seat_at_once(&self) -> Option<Lease> {
        self.exchange.shared.admission.seats.at_once(|| self.dispatch(RetryReason::Disconnected))
    }

    /// A seat on any worker, waiting for one if that is wanted. `failure` is how the last attempt ended.
    async fn wait_for_worker(&mut self, failure: Option<ProxyError>) -> Result<Lease, ProxyError> {
        let shared = self.exchange.shared;
        if failure.is_none() {
            match self.seat().await {
                Ok(lease) => return Ok(lease),
                Err(Some(full)) => return Err(full),
                Err(None) => {}
            }
        }
        let may_wait = failure
            .as_ref()
            .is_none_or(|f| f.retry() != Retry::Never && self.features.attempt < shared.retry.max_retries);
        if failure.is_some()
            && may_wait
            && let Some(lease) = self.another_seat().await
        {
            return Ok(lease);
        }
        // A worker whose connection broke may be down without anybody knowing yet.
        let lost = matches!(failure, Some(ProxyError::Connect(_) | ProxyError::Broken(_)));
        let last = lost.then_some(RetryReason::Disconnected);
        if let Some(patience) = shared.retry.queue.filter(|_| may_wait)
            && shared.may_come(&self.features, last)
            && let Some(lease) = self.queue(patience).await
        {
            return Ok(lease);
        }
        // A worker may have come since the first look, in which case nobody waited for it.
        if failure.is_none()
            && let Some(lease) = self.seat_at_once()
        {
            return Ok(lease);
        }
        Err(match (self.kept.take(), failure) {
            (Some(kept), _) => ProxyError::Exhausted(Box::new(kept)),
            (None, Some(failure)) => failure,
            (None, None) => shared.nobody(),
        })
    }

    /// A seat on a worker that was not tried, waiting for one as long as all of them are merely full.
    async fn seat(&self) -> Result<Lease, Option<ProxyError>> {
        let shared = self.exchange.shared;
        shared
            .admission
            .seats
            .take(|| shared.vacancy(&self.features, &self.tried), || self.dispatch(RetryReason::Disconnected))
            .await
    }

    /// The same for an attempt that follows another one.
    async fn another_seat(&mut self) -> Option<Lease> {
        let shared = self.exchange.shared;
        if !shared.admission.seats.are_capped()
            || shared.vacancy(&self.features, &self.tried) == Vacancy::Never
        {
            return None;
        }
        self.features.attempt += 1;
        match self.seat().await {
            Ok(lease) => {
                shared.records.retried(self.exchange.route, RetryReason::Disconnected);
                Some(lease)
            }
            Err(_) => {
                self.features.attempt -= 1;
                None
            }
        }
    }

    /// Waits until some worker may be chosen; those that were tried may have come up again meanwhile.
    async fn queue(&mut self, patience: Duration) -> Option<Lease> {
        let exchange = self.exchange;
        let until = exchange.deadline.min(Instant::now() + patience);
        let _waiting = exchange.shared.records.waiting_for_worker();
        if !self.tried.is_empty() {
            self.features.attempt += 1;
            // Some versions of SGLang garble the answer to an id that they know already.
            if self.rid.is_none() {
                self.tried.clear();
            }
        }
        loop {
            let mut arrival = pin!(exchange.shared.workers.arrivals.notified());
            arrival.as_mut().enable();
            if let Ok(lease) = self.dispatch(RetryReason::Disconnected) {
                return Some(lease);
            }
            tokio::time::timeout_at(until, arrival).await.ok()?;
        }
    }

    /// Nobody is left to ask: the client gets the best of the answers.
    fn conclude(
        &mut self,
        answer: Answer,
        lease: Lease,
        detour: RetryReason,
    ) -> Result<Response<RouterBody>, ProxyError> {
        match self.kept.take().filter(|kept| kept.is_better_than(detour)) {
            Some(kept) => {
                let mut lease = lease;
                lease.refused(answer.parts.status);
                Err(ProxyError::Exhausted(Box::new(kept)))
            }
            None => Ok(self.exchange.relay(answer, lease)),
        }
    }

    /// Keeps an answer for the client, should none be better.
    async fn keep(&mut self, answer: Answer, mut lease: Lease, detour: RetryReason) {
        lease.refused(answer.parts.status);
        if self.kept.as_ref().is_none_or(|kept| !kept.is_better_than(detour)) {
            self.kept = Kept::read(answer, &lease.worker, detour).await.or(self.kept.take());
        }
    }
}

/// The end of a future that may not be there; then it never comes.
async fn polled<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
