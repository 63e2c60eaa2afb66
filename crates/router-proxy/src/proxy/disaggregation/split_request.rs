//! The loop over attempts of one split request, each with a prefill and a decode worker.

use super::leg::{DecodeError, LegFailure, LegResult, LegState};
use crate::dispatch::ExcludedWorkers;
use crate::error::ProxyError;
use crate::lease::{ClientRid, Lease};
use crate::models::Resolved;
use crate::prefill_pool::PrefillPool;
use crate::proxy::attempt::UpstreamResponse;
use crate::proxy::buffered_response::BufferedResponse;
use crate::proxy::rejection::Rejection;
use crate::proxy::request::ProxyRequest;
use crate::proxy::retry::{FirstByteDeadline, RetryPermit, RetryState, has_untried, record_failure};
use crate::response::RouterBody;
use bytes::Bytes;
use http::{Response, header};
use router_config::PdProtocol;
use router_core::{RequestFeatures, Route, WorkerId};
use router_protocol::disaggregation::{MAX_ROOMS, SplitFacts, bootstrap_rooms, split_facts};
use router_protocol::{RequestFacts, set_members};
use router_telemetry::{Leg, RetryReason};
use router_upstream::{Candidate, DispatchError, WorkerPool};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One split request.
#[derive(Debug)]
pub(crate) struct SplitRequest<'a> {
    pub(super) split: &'a PrefillPool,
    pub(super) prefill: LegState<'a>,
    pub(super) decode: LegState<'a>,
    pub(super) facts: &'a RequestFacts<'a>,
    /// What the request says about its own disaggregation.
    pub(super) options: SplitFacts,
    rid: ClientRid<'a>,
}

impl<'a> SplitRequest<'a> {
    pub(crate) async fn new(
        request: &'a ProxyRequest<'a>,
        split: &'a PrefillPool,
        resolved: &Resolved,
        facts: &'a RequestFacts<'a>,
        rid: ClientRid<'a>,
    ) -> Self {
        let side = |pool: &'a Arc<WorkerPool>, leg| LegState {
            request: ProxyRequest { pool, leg, ..request.clone() },
            excluded: ExcludedWorkers::without(&resolved.unfit(pool)),
            last: None,
            has_own_id: rid.is_given(),
        };
        Self {
            split,
            prefill: side(&split.pool, Leg::Prefill),
            decode: side(request.pool, Leg::Decode),
            facts,
            options: request.edit_body(split_facts).await,
            rid,
        }
    }

    /// Makes attempts until one pair of workers responds or none is left.
    pub(crate) async fn run(
        mut self,
        mut features: RequestFeatures<'a>,
    ) -> Result<Response<RouterBody>, Rejection> {
        self.check()?;
        let retry = RetryState::new(&self.decode.request, features.id);
        let mut earlier: Option<ProxyError> = None;
        let mut fallback: Option<Box<BufferedResponse>> = None;
        let (mut permit, mut last, mut until) = (None, None, retry.wait_until());
        loop {
            self.wait_for_both(&features, until, last).await;
            let failure = match self.attempt(&features, &mut permit).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let LegFailure { leg, error, candidate, response } = failure;
            let reason = match &candidate {
                Some(candidate) => {
                    until = retry.wait_until();
                    let retry_after =
                        response.as_ref().and_then(|r| r.retry_after(&self.decode.request.pool.clock));
                    self.on_failure(leg, &error, candidate, retry_after)
                }
                // The worker that was there when the request set out has left.
                None if until.is_some_and(|until| Instant::now() < until) => {
                    matches!(error, ProxyError::NoWorker { .. }).then_some(RetryReason::Disconnected)
                }
                None => None,
            };
            let error = ProxyError::Leg { leg, source: Box::new(error) };
            // An earlier error says more than that no worker is left.
            let error = if candidate.is_none() { earlier.take().unwrap_or(error) } else { error };
            if let Some(response) = response
                && fallback.as_ref().is_none_or(|kept| !kept.is_better_than(response.reason()))
            {
                fallback = Some(response);
            }
            let Some(reason) = reason else { return Err(Rejection::with_fallback(error, fallback)) };
            let failed = self.side(leg);
            let (pool, excluded) = (failed.request.pool, &failed.excluded);
            let has_candidate = || has_untried(pool, excluded.ids());
            permit = match retry.permit(features.attempt, reason, has_candidate).await {
                None => return Err(Rejection::with_fallback(error, fallback)),
                permit => permit,
            };
            last = Some(reason);
            features.attempt += 1;
            earlier = Some(error);
        }
    }

    /// Refuses what cannot be split.
    fn check(&self) -> Result<(), ProxyError> {
        let refuse = |why: String| Err(ProxyError::Unsplittable(why));
        let route = self.decode.request.origin.route;
        if route == Route::Messages && self.split.protocol == PdProtocol::Sglang {
            return Err(ProxyError::NotDisaggregated(route.as_str()));
        }
        if !self.facts.well_formed {
            return refuse("the body is not one JSON object".to_owned());
        }
        if let Some(member) = self.options.reserved {
            return refuse(format!("'{member}' is set by the router and must not stand in a request"));
        }
        if self.rooms().is_some_and(|rooms| rooms > MAX_ROOMS) {
            return refuse(format!("it has more than {MAX_ROOMS} prompts or choices"));
        }
        Ok(())
    }

    /// How many rooms the request takes; `None` when it is not a list.
    pub(super) fn rooms(&self) -> Option<u32> {
        bootstrap_rooms(self.prefill.request.origin.route, self.facts)
    }

    /// Where that is configured, waits until each leg has a worker to choose. It comes before any dispatch, so that a
    /// request that waits for one leg holds no worker of the other.
    async fn wait_for_both(
        &mut self,
        features: &RequestFeatures<'_>,
        until: Option<Instant>,
        last: Option<RetryReason>,
    ) {
        let Some(until) = until else { return };
        for side in [&mut self.prefill, &mut self.decode] {
            side.wait(features, until, last).await;
        }
    }

    async fn attempt(
        &mut self,
        features: &RequestFeatures<'_>,
        permit: &mut Option<RetryPermit<'a>>,
    ) -> LegResult {
        // Prefill comes first: a request that no worker can prefill takes no place on a decode worker.
        let prefill = self.dispatch(Leg::Prefill, features).await?;
        if let Some(permit) = permit.take() {
            permit.spend();
        }
        match self.split.protocol {
            PdProtocol::Sglang => {
                let decode = self.dispatch(Leg::Decode, features).await?;
                self.send_to_both(prefill, decode).await
            }
            PdProtocol::Vllm => self.send_in_turn(prefill, features).await,
        }
    }

    /// A worker for one leg, waiting for one as long as all of them are merely at their caps.
    pub(super) async fn dispatch(
        &mut self,
        leg: Leg,
        features: &RequestFeatures<'_>,
    ) -> Result<Lease, LegFailure> {
        let rid = self.rid;
        // What the caller states is the output of the decode leg: the prefill leg makes one token.
        let stated_output_tokens = features.stated_output_tokens.filter(|_| leg != Leg::Prefill);
        let features = &RequestFeatures { stated_output_tokens, ..*features };
        let side = self.side_mut(leg);
        let lease = side.request.dispatcher(rid).dispatch_or_wait(features, side.excluded.ids()).await;
        side.last = lease.as_ref().ok().map(|lease| Arc::clone(&lease.candidate));
        lease.map_err(|error| match error {
            DispatchError::AtCapacity => LegFailure::new(leg, ProxyError::WorkersFull, None),
            DispatchError::Unavailable => self.no_worker(leg),
        })
    }

    /// The failure of a leg that has no worker to choose.
    pub(super) fn no_worker(&self, leg: Leg) -> LegFailure {
        let error = ProxyError::no_worker(self.side(leg).request.pool);
        LegFailure::new(leg, error, None)
    }

    const fn side_mut(&mut self, leg: Leg) -> &mut LegState<'a> {
        if matches!(leg, Leg::Prefill) { &mut self.prefill } else { &mut self.decode }
    }

    const fn side(&self, leg: Leg) -> &LegState<'a> {
        if matches!(leg, Leg::Prefill) { &self.prefill } else { &self.decode }
    }

    /// Takes note of what a failure says about its worker; why the request may be tried again, if it may.
    fn on_failure(
        &mut self,
        leg: Leg,
        error: &ProxyError,
        candidate: &Arc<Candidate>,
        retry_after: Option<Duration>,
    ) -> Option<RetryReason> {
        if self.rid.is_given() {
            for side in [&mut self.prefill, &mut self.decode] {
                if let Some(last) = &side.last {
                    side.excluded.exclude(last, &side.request.pool.candidates);
                }
            }
        }
        let side = self.side_mut(leg);
        side.excluded.exclude(candidate, &side.request.pool.candidates);
        record_failure(side.request.pool, candidate, error, retry_after)
    }

    /// The request of one leg with `members` set in its body.
    pub(super) async fn with_members<V: AsRef<str>>(
        &self,
        side: &LegState<'a>,
        members: impl AsRef<[(&'static str, V)]> + Send + 'static,
    ) -> ProxyRequest<'a> {
        let body = side.request.edit_body(move |body| set_members(body, members.as_ref())).await;
        // Checked before the first attempt: the body is one JSON object.
        self.with_body(side, body.unwrap_or_else(|| side.request.body.clone()))
    }

    /// The request of one leg with another body.
    pub(super) fn with_body(&self, side: &LegState<'a>, body: Bytes) -> ProxyRequest<'a> {
        let mut request = ProxyRequest { body, ..side.request.clone() };
        // The client's length is that of its own body.
        request.headers.remove(header::CONTENT_LENGTH);
        request
    }

    /// Waits until a worker becomes unhealthy while another one could do its leg. Without another one, waiting for it is
    /// the best there is.
    pub(super) async fn evicted(&self, leg: Leg, candidate: &Candidate) {
        let (pool, excluded) = (self.side(leg).request.pool, self.side(leg).excluded.ids());
        loop {
            candidate.worker.evicted.notified().await;
            let balancer = pool.balancer.lock();
            let is_other = |id: WorkerId| id != candidate.id && !excluded.contains(&id);
            if balancer.fleet().available().any(is_other) {
                return;
            }
        }
    }

    /// Until when a first byte is waited for from now on.
    pub(super) fn first_byte_deadline(&self) -> FirstByteDeadline {
        let request = &self.decode.request;
        FirstByteDeadline::new(&request.state.live().limits, request.deadline)
    }

    /// A response that the client may get, or why it may not.
    pub(super) fn check_response(&self, response: UpstreamResponse) -> Result<UpstreamResponse, DecodeError> {
        match response.retry_reason(self.decode.request.origin.route) {
            None => Ok(response),
            Some(reason) => Err(DecodeError::Rejected(Box::new(response), reason)),
        }
    }
}
