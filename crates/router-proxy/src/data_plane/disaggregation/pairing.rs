//! One split request from pair to pair until one answers.

use super::super::Vacancy;
use super::super::body::RouterBody;
use super::super::forward::Exchange;
use super::Disaggregation;
use super::prefill::{Reading, Unprefilled};
use crate::error::{ProxyError, Retry, is_busy};
use crate::lease::Lease;
use crate::router::Shared;
use crate::workers::Worker;
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use router_config::PdProtocol;
use router_core::{NoWorker, Outcome, RequestFeatures, Rng, WorkerId};
use router_protocol::disaggregation::{MAX_ROOMS, SplitFacts, bootstrap_rooms, split_facts};
use router_protocol::{RequestFacts, set_members};
use router_telemetry::{Leg, RetryReason};
use smallvec::SmallVec;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One split request.
#[derive(Debug)]
pub(in super::super) struct Pairing<'a> {
    pub(super) split: &'a Disaggregation,
    pub(super) prefill: Side<'a>,
    pub(super) decode: Side<'a>,
    pub(super) facts: &'a RequestFacts<'a>,
    pub(super) wishes: SplitFacts,
    rid: Option<&'a str>,
}

/// One leg's side of a request.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) exchange: Exchange<'a>,
    /// Workers that are not to have the request again.
    tried: SmallVec<[WorkerId; 4]>,
    /// Who had it last.
    last: Option<WorkerId>,
    /// It has an id of its own, which no worker may see twice, not even one that came up again.
    once: bool,
}

impl Side<'_> {
    /// Waits until somebody can be chosen, for as long as that may help and no longer than `until`.
    async fn wait(&mut self, features: &RequestFeatures<'_>, (until, last): (Instant, Option<RetryReason>)) {
        let shared = self.exchange.shared;
        if shared.vacancy(features, &self.tried) == Vacancy::Later || !shared.may_come(features, last) {
            return;
        }
        if !self.once {
            self.tried.clear();
        }
        let _waiting = shared.records.waiting_for_worker();
        loop {
            let mut arrival = pin!(shared.workers.arrivals.notified());
            arrival.as_mut().enable();
            let somebody = shared.vacancy(features, &self.tried) == Vacancy::Later;
            if somebody || tokio::time::timeout_at(until, arrival).await.is_err() {
                return;
            }
        }
    }
}

/// One leg that came to nothing.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) leg: Leg,
    pub(super) error: ProxyError,
    /// The worker, if one was found.
    pub(super) worker: Option<Arc<Worker>>,
}

/// How one try ended.
pub(super) type Try = Result<Response<RouterBody>, Failure>;

impl<'a> Pairing<'a> {
    pub(in super::super) fn new(
        exchange: &'a Exchange<'a>,
        split: &'a Disaggregation,
        (facts, rid): (&'a RequestFacts<'a>, Option<&'a str>),
    ) -> Self {
        let side = |shared, leg| {
            let exchange = Exchange { shared, leg, ..exchange.clone() };
            Side { exchange, tried: SmallVec::new(), last: None, once: facts.rid.is_some() }
        };
        Self {
            split,
            prefill: side(&split.pool, Leg::Prefill),
            decode: side(exchange.shared, Leg::Decode),
            facts,
            wishes: split_facts(&exchange.body),
            rid,
        }
    }

    /// Tries until one pair answers or none is left.
    pub(in super::super) async fn run(
        mut self,
        mut features: RequestFeatures<'a>,
    ) -> Result<Response<RouterBody>, ProxyError> {
        self.check()?;
        let shared = self.decode.exchange.shared;
        shared.budget.earn(shared.clock.now());
        let mut earlier: Option<ProxyError> = None;
        let (mut last, mut until) = (None, self.until());
        loop {
            self.wait_for_both(&features, (until, last)).await;
            let failure = match self.attempt(&features).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let Failure { leg, error, worker } = failure;
            let detour = match &worker {
                Some(worker) => {
                    until = self.until();
                    self.judge(leg, &error, worker)
                }
                // Whoever was there when the request set out is gone.
                None if until.is_some_and(|until| Instant::now() < until) => {
                    matches!(error, ProxyError::NoWorker { .. }).then_some(RetryReason::Disconnected)
                }
                None => None,
            };
            let error = ProxyError::Leg { leg, source: Box::new(error) };
            // Of all that went wrong, "nobody is left" tells the least.
            let error = if worker.is_none() { earlier.take().unwrap_or(error) } else { error };
            let Some(detour) = detour else { return Err(error) };
            if !self.may_go_on(&features, detour).await {
                return Err(error);
            }
            last = Some(detour);
            features.attempt += 1;
            shared.records.retried(features.route, detour);
            earlier = Some(error);
        }
    }

    /// Refuses what cannot be split.
    fn check(&self) -> Result<(), ProxyError> {
        let refuse = |why: String| Err(ProxyError::Unsplittable(why));
        if !self.facts.well_formed {
            return refuse("the body is not one JSON object".to_owned());
        }
        if let Some(member) = self.wishes.reserved {
            return refuse(format!("'{member}' is set by the router and must not stand in a request"));
        }
        if self.rooms().is_some_and(|rooms| rooms > MAX_ROOMS) {
            return refuse(format!("it has more than {MAX_ROOMS} prompts or answers"));
        }
        Ok(())
    }

    /// How many rooms the request takes; `None` when it is not a list.
    pub(super) fn rooms(&self) -> Option<u32> {
        bootstrap_rooms(self.prefill.exchange.route, self.facts)
    }

    /// Until when a wait that begins now may last; absent where nobody is waited for.
    fn until(&self) -> Option<Instant> {
        let Exchange { shared, deadline, .. } = self.decode.exchange;
        shared.retry.queue.map(|patience| deadline.min(Instant::now() + patience))
    }

    /// Where that is wanted, waits until each side has somebody to choose. That is before the request takes a seat, so that
    /// it keeps no worker of the one side while it waits for the other.
    async fn wait_for_both(
        &mut self,
        features: &RequestFeatures<'_>,
        (until, last): (Option<Instant>, Option<RetryReason>),
    ) {
        let Some(until) = until else { return };
        for side in [&mut self.prefill, &mut self.decode] {
            side.wait(features, (until, last)).await;
        }
    }

    async fn attempt(&mut self, features: &RequestFeatures<'_>) -> Try {
        // The prompt is read first, so a request that nobody can read takes no seat at a decode worker.
        let prefill = self.seat(Leg::Prefill, features).await?;
        match self.split.protocol {
            PdProtocol::Sglang => {
                let decode = self.seat(Leg::Decode, features).await?;
                self.together(prefill, decode).await
            }
            PdProtocol::Vllm => self.in_turn(prefill, features).await,
        }
    }

    /// A seat on a worker of one side, waiting for one as long as all of them are merely full.
    pub(super) async fn seat(&mut self, leg: Leg, features: &RequestFeatures<'_>) -> Result<Lease, Failure> {
        let rid = self.rid;
        let side = self.side_mut(leg);
        let shared = side.exchange.shared;
        let vacancy = || shared.vacancy(features, &side.tried);
        let dispatch = || match side.exchange.dispatch(features, &side.tried) {
            // Waiting requests need no worker that others are kept from.
            Err(NoWorker) if vacancy() == Vacancy::Never && shared.last_resort(&side.tried) => {
                side.exchange.dispatch(features, &side.tried)
            }
            lease => lease,
        };
        let lease = shared.admission.seats.take(vacancy, dispatch).await;
        side.last = lease.as_ref().ok().map(|lease| lease.worker.id);
        lease.map(|lease| lease.with_rid(rid)).map_err(|full| match full {
            Some(error) => Failure { leg, error, worker: None },
            None => self.nobody(leg),
        })
    }

    /// The failure of a side that has nobody to choose.
    pub(super) fn nobody(&self, leg: Leg) -> Failure {
        Failure { leg, error: self.side(leg).exchange.shared.nobody(), worker: None }
    }

    const fn side_mut(&mut self, leg: Leg) -> &mut Side<'a> {
        if matches!(leg, Leg::Prefill) { &mut self.prefill } else { &mut self.decode }
    }

    const fn side(&self, leg: Leg) -> &Side<'a> {
        if matches!(leg, Leg::Prefill) { &self.prefill } else { &self.decode }
    }

    /// Whether a side has somebody to choose who was not tried, `but` left out.
    pub(super) fn has_untried(&self, leg: Leg, but: WorkerId) -> bool {
        let side = self.side(leg);
        let balancer = side.exchange.shared.balancer.lock();
        balancer.fleet().available().iter().any(|id| *id != but && !side.tried.contains(id))
    }

    /// Takes note of what a failure says about its worker; how the request may go on, if it may.
    fn judge(&mut self, leg: Leg, error: &ProxyError, worker: &Arc<Worker>) -> Option<RetryReason> {
        // Some versions of SGLang garble the answer to an id that they know already, or never give one.
        if self.facts.rid.is_some() {
            self.prefill.tried.extend(self.prefill.last);
            self.decode.tried.extend(self.decode.last);
        }
        let side = self.side_mut(leg);
        side.tried.push(worker.id);
        let shared: &Shared = side.exchange.shared;
        match error {
            ProxyError::Connect(_) => {
                worker.unreachable(shared);
                Some(RetryReason::Disconnected)
            }
            ProxyError::Broken(_) => {
                worker.doubt();
                Some(RetryReason::Disconnected)
            }
            ProxyError::Trouble => Some(RetryReason::WorkerUnhealthy),
            ProxyError::Status(status) if is_busy(*status) => {
                shared.workers.spare(worker, shared.clock.now(), None);
                Some(RetryReason::Overloaded)
            }
            error => (error.retry() != Retry::Never).then_some(RetryReason::Failed),
        }
    }

    /// Whether the rules allow another try, after the wait that is due.
    async fn may_go_on(&self, features: &RequestFeatures<'_>, detour: RetryReason) -> bool {
        let (exchange, shared) = (&self.decode.exchange, self.decode.exchange.shared);
        let retry = features.attempt + 1;
        let mut lot = Rng::seeded(features.id.0 ^ u64::from(retry).rotate_left(32));
        let pause =
            if detour.uses_budget() { shared.retry.backoff(retry, lot.unit_f64()) } else { Duration::ZERO };
        if features.attempt >= shared.retry.max_retries || Instant::now() + pause >= exchange.deadline {
            shared.records.retries_exhausted(exchange.route);
            return false;
        }
        if detour.uses_budget() {
            if !shared.budget.allows(shared.clock.now()) {
                shared.records.retry_budget_exhausted();
                return false;
            }
            shared.budget.spend(shared.clock.now());
        }
        if !pause.is_zero() {
            shared.records.retry_delayed(pause);
            sleep(pause).await;
        }
        true
    }

    /// The request with `members` set in its body, for one side.
    pub(super) fn told<V: AsRef<str>>(&self, side: &Side<'a>, members: &[(&str, V)]) -> Exchange<'a> {
        let body = set_members(&side.exchange.body, members);
        // Checked before the first try: the body is one JSON object.
        self.with_body(side, body.unwrap_or_else(|| side.exchange.body.clone()))
    }

    /// The same, with a body that is there already.
    pub(super) fn with_body(&self, side: &Side<'a>, body: Bytes) -> Exchange<'a> {
        let mut exchange = Exchange { body, ..side.exchange.clone() };
        // The client counted its own body.
        exchange.headers.remove(header::CONTENT_LENGTH);
        exchange
    }

    /// Waits until a worker turns out to be in trouble and another one could do its leg. Without another one, waiting
    /// for it is the best there is.
    pub(super) async fn trouble(&self, leg: Leg, worker: &Worker) {
        loop {
            worker.trouble.notified().await;
            if self.has_untried(leg, worker.id) {
                return;
            }
        }
    }

    /// How long a first byte is waited for from now on.
    pub(super) fn patience(&self) -> Patience {
        let exchange = &self.decode.exchange;
        let bound = exchange.shared.limits.first_byte.map(|bound| (bound, Instant::now() + bound));
        match bound.filter(|(_, until)| *until < exchange.deadline) {
            Some((bound, until)) => Patience { until, bound: Some(bound) },
            None => Patience { until: exchange.deadline, bound: None },
        }
    }

    /// The error of a leg that got no answer in time.
    pub(super) fn late(&self, patience: Patience) -> ProxyError {
        match patience.bound {
            Some(bound) => ProxyError::NoFirstByte(bound),
            None => ProxyError::Timeout(self.decode.exchange.shared.limits.timeout),
        }
    }
}

/// How long a first byte is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) until: Instant,
    /// Set where another worker may be tried afterwards.
    bound: Option<Duration>,
}

/// Ends the prefill leg that is waited for in vain.
pub(super) fn unread(reading: Reading, error: ProxyError) -> Failure {
    let worker = Arc::clone(&reading.worker);
    reading.give_up(&error);
    Failure { leg: Leg::Prefill, error, worker: Some(worker) }
}

/// The end of a prefill as the end of a try.
pub(super) fn unprefilled(end: Unprefilled, worker: &Arc<Worker>) -> Try {
    match end {
        Unprefilled::Refused(response) => Ok(*response),
        Unprefilled::Failed(error) => {
            Err(Failure { leg: Leg::Prefill, error, worker: Some(Arc::clone(worker)) })
        }
    }
}

/// Ends the decode leg with what went wrong on it.
pub(super) fn undecoded(mut lease: Lease, error: ProxyError) -> Failure {
    lease.blame(error.code());
    match &error {
        ProxyError::Status(status) => lease.refused(*status),
        ProxyError::Timeout(_) | ProxyError::NoFirstByte(_) | ProxyError::Trouble => {
            lease.abandon(Outcome::Failed)
        }
        _ => lease.give_up(Outcome::Failed),
    }
    Failure { leg: Leg::Decode, error, worker: Some(Arc::clone(&lease.worker)) }
}

/// Names the worker that read the prompt beside the one that wrote the answer.
pub(super) fn named(mut response: Response<RouterBody>, prefill: HeaderValue) -> Response<RouterBody> {
    response.headers_mut().insert(super::PREFILL_WORKER, prefill);
    response
}
