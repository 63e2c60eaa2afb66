//! Choosing a worker for one attempt, and waiting for one.

use super::excluded_workers::ExcludedWorkers;
use crate::error::ProxyError;
use crate::lease::{AttemptNote, ClientRid, Lease};
use http::{HeaderMap, HeaderValue};
use router_core::{AttemptResult, Dispatched, NoWorker, Outcome, RequestFeatures, Time, WorkerId};
use router_telemetry::{AttemptInfo, AttemptNotes, DecisionRecord, Leg, RetryReason, TraceContext};
use router_upstream::{Availability, DispatchError, WaitAttempt, WaitClass, WorkerPool};
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether a request may force its way to workers that others are kept from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastResort {
    /// Where no worker is left, breakers that are open let it through as a probe (panic mode).
    Allowed,
    /// An attempt that may succeed is still running, so that none is needed.
    Forbidden,
}

/// Dispatches the attempts of one request, or of one leg of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dispatcher<'a> {
    /// Whose workers the attempts go to.
    pub(crate) pool: &'a Arc<WorkerPool>,
    /// What part of the request they do.
    pub(crate) leg: Leg,
    /// What the request is called.
    pub(crate) id: &'a HeaderValue,
    pub(crate) trace: Option<TraceContext>,
    /// Where the access log is told of them; absent where the request has no line.
    pub(crate) notes: Option<&'a Arc<AttemptNotes>>,
    pub(crate) received_at: Time,
    /// By which workers know the request.
    pub(crate) rid: ClientRid<'a>,
    /// The headers of the request.
    pub(crate) headers: &'a HeaderMap,
}

impl Dispatcher<'_> {
    /// Dispatches to the worker that the balancer chooses among those that are not `excluded`.
    pub(crate) fn dispatch(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &[WorkerId],
        last_resort: LastResort,
    ) -> Result<Lease, NoWorker> {
        match self.dispatch_once(features, excluded) {
            Err(NoWorker)
                if last_resort == LastResort::Allowed
                    && self.pool.availability(features, excluded) == Availability::Unavailable
                    && self.pool.force_probe_all(excluded) =>
            {
                self.dispatch_once(features, excluded)
            }
            result => result,
        }
    }

    /// Dispatches to a worker that does not cool down, else to one that does.
    fn dispatch_once(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &[WorkerId],
    ) -> Result<Lease, NoWorker> {
        let mut without_cooling = SmallVec::<[WorkerId; 4]>::from_slice(excluded);
        let now = self.pool.clock.now();
        self.pool.candidates.exclude_cooling(now, &mut without_cooling);
        match self.dispatch_among(now, features, &without_cooling) {
            Err(NoWorker) if without_cooling.len() > excluded.len() => {
                self.dispatch_among(now, features, excluded)
            }
            result => result,
        }
    }

    /// Decides and commits under one lock, then records the decision.
    fn dispatch_among(
        &self,
        asked_at: Time,
        features: &RequestFeatures<'_>,
        excluded: &[WorkerId],
    ) -> Result<Lease, NoWorker> {
        let pool = self.pool;
        let explain = pool.telemetry.explain_level();
        let (dispatched, candidate, kind) = {
            let mut balancer = pool.balancer.lock();
            let dispatched = balancer.dispatch(asked_at, features, excluded, explain)?;
            let Some(candidate) = pool.candidates.get(dispatched.ticket.worker()) else {
                // The worker left in the same instant, before anything was sent to it.
                balancer.finish(asked_at, dispatched.ticket, AttemptResult::of(Outcome::Cancelled));
                return Err(NoWorker);
            };
            let kind = candidate.take_probe(&pool.candidates, &mut balancer, asked_at);
            (dispatched, candidate, kind)
        };
        candidate.request_sent();
        let took = pool.clock.now().since(asked_at);
        let Dispatched { ticket, policy, decision, snapshot, chosen, scores, shadows } = dispatched;
        let note = self.notes.map(|notes| AttemptNote::new(notes, self.leg));
        let info = AttemptInfo::new(self.id.into(), features, self.received_at)
            .with_trace(self.trace)
            .with_leg(self.leg)
            .with_pool(pool.telemetry.pool)
            .with_policy(policy);
        let reason = decision.reason;
        let record = DecisionRecord {
            info: info.clone(),
            at: asked_at,
            decision,
            snapshot,
            chosen,
            scores,
            shadows,
            took,
        };
        let name = |id| Some(Arc::clone(&pool.candidates.get(id)?.telemetry.name));
        pool.telemetry.decided(&candidate.telemetry, record, name);
        let lease = Lease::new(Arc::clone(pool), candidate, kind, ticket, info, reason);
        Ok(lease.with_note(note).with_rid(self.rid, self.headers))
    }

    /// Any worker, at once, unless others wait for one.
    pub(crate) fn try_dispatch(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &[WorkerId],
    ) -> Option<Lease> {
        self.pool.capacity.try_dispatch(|| self.dispatch(features, excluded, LastResort::Allowed))
    }

    /// A worker that is not excluded, waiting for one as long as all of them are merely at their caps.
    pub(crate) async fn dispatch_or_wait(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &[WorkerId],
    ) -> Result<Lease, DispatchError> {
        let availability = || self.pool.availability(features, excluded);
        let dispatch = || self.dispatch(features, excluded, LastResort::Allowed);
        self.pool.capacity.dispatch_or_wait(availability, dispatch).await
    }

    /// A worker for the first attempt, waiting for one: while all are at their caps, and where none is in service until `until`,
    /// if that is given.
    pub(crate) async fn first_worker(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &mut ExcludedWorkers,
        until: Option<Instant>,
    ) -> Result<Lease, ProxyError> {
        match self.dispatch_or_wait(features, excluded.ids()).await {
            Ok(lease) => return Ok(lease),
            Err(DispatchError::AtCapacity) => return Err(ProxyError::WorkersFull),
            Err(DispatchError::Unavailable) => {}
        }
        if let Some(lease) = self.wait_for_service(features, excluded, until, None).await {
            return Ok(lease);
        }
        // A worker may have come into service since the first look, before the wait began.
        self.try_dispatch(features, excluded.ids()).ok_or_else(|| ProxyError::no_worker(self.pool))
    }

    /// Waits until a worker is in service, where that is configured and may help after an attempt that ended for the reason
    /// `last`. Workers that were tried may have recovered meanwhile.
    pub(crate) async fn wait_for_service(
        &self,
        features: &RequestFeatures<'_>,
        excluded: &mut ExcludedWorkers,
        until: Option<Instant>,
        last: Option<RetryReason>,
    ) -> Option<Lease> {
        let until = until?;
        if !self.pool.may_become_available(features, last) {
            return None;
        }
        // A request with an id that an engine has seen stays away.
        if !self.rid.is_given() {
            excluded.clear();
        }
        let excluded = excluded.ids();
        self.wait_until_available(until, || self.dispatch(features, excluded, LastResort::Allowed).ok()).await
    }

    /// Waits until `attempt` finds a worker, where none is in service; `None` when none came until `until`.
    pub(crate) async fn wait_until_available<T>(
        &self,
        until: Instant,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let _waiting = self.pool.telemetry.waiting_for_worker();
        let _since = self.pool.capacity.waits_elsewhere();
        let wait = self
            .pool
            .unavailable
            .wait(WaitClass::default(), || attempt().map_or(WaitAttempt::NotYet, WaitAttempt::Taken));
        tokio::time::timeout_at(until, wait).await.ok().flatten()
    }
}
