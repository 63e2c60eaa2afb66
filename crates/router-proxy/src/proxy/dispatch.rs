//! Choosing a worker for one attempt.

use super::request::ProxyRequest;
use crate::lease::{AttemptNote, Lease};
use router_core::{AttemptResult, Dispatched, NoWorker, Outcome, RequestFeatures, Time, WorkerId};
use router_telemetry::{AttemptInfo, DecisionRecord};
use router_upstream::{Availability, WaitAttempt, WaitClass};
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::time::Instant;

/// Whether a request may force its way to workers that others are kept from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LastResort {
    /// Where no worker is left, breakers that are open let it through as a probe (panic mode).
    Allowed,
    /// An attempt that may succeed is still running, so that none is needed.
    Forbidden,
}

impl ProxyRequest<'_> {
    /// Dispatches to the worker that the balancer chooses among those that are not `excluded`.
    pub(super) fn dispatch(
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
        let Dispatched { ticket, decision, snapshot, chosen, scores, shadows } = dispatched;
        let note = self.origin.notes.as_ref().map(|notes| AttemptNote::new(notes, decision.reason, self.leg));
        let info = AttemptInfo::new(self.origin.name.id().into(), features, self.origin.received_at)
            .with_trace(self.origin.trace)
            .with_leg(self.leg);
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
        Ok(Lease::new(Arc::clone(pool), candidate, kind, ticket, info).with_note(note))
    }

    /// Waits until `attempt` finds a worker, where none is in service; `None` when none came until `until`.
    pub(super) async fn wait_until_available<T>(
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
