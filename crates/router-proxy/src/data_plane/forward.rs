//! One request of a client: what every attempt needs of it, and how an answer goes back.

use super::attempt::Answer;
use super::body::RouterBody;
use super::disaggregation::Pairing;
use super::journey::Journey;
use super::relay::{Kind, Relay, Watch};
use super::{Call, WORKER};
use crate::error::ProxyError;
use crate::lease::Lease;
use crate::router::Shared;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Response, header, response};
use router_core::{Dispatched, NoWorker, Outcome, RequestFeatures, Route, Time, WorkerId};
use router_protocol::StreamObserver;
use router_telemetry::{AttemptInfo, DecisionRecord, Leg};
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::time::Instant;

/// One request of a client, with what every attempt needs of it.
#[derive(Clone, Debug)]
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) route: Route,
    /// What part of the request its attempts do.
    pub(super) leg: Leg,
    pub(super) call: &'a Call,
    pub(super) deadline: Instant,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, parts: Parts, body: Bytes, call: &'a Call) -> Self {
        let Parts { method, uri, headers, .. } = parts;
        Self {
            shared,
            method,
            path: uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")),
            headers,
            body,
            route: call.route,
            leg: Leg::Whole,
            call,
            deadline: Instant::now() + shared.limits.timeout,
        }
    }

    /// Attempts until one is answered or none is left.
    pub(super) async fn run(&self) -> Result<Response<RouterBody>, ProxyError> {
        let facts = router_protocol::scan(self.route, &self.body);
        let mut prefix = Vec::new();
        if let Some(prompt) = facts.prompt
            && self.shared.needs.prefix_hashes
        {
            router_protocol::prefix_hashes(prompt, &mut prefix);
        }
        let id = self.shared.ids.number();
        let mut features = facts.features(id, self.route, &prefix);
        if self.shared.needs.text {
            features.text = facts.text();
        }
        if self.shared.needs.script {
            features.script = facts.script();
        }
        let named = (self.shared.needs, &*self.shared.limits.key_headers);
        super::affinity::add(&mut features, named, &self.headers, &facts);
        features.arrived_at = Some(self.call.received_at);
        // Ids of a batch are many; a prefix of them aborts nothing.
        let rid = facts.rid.as_deref().filter(|_| facts.batch == 1);
        if let Some(split) = self.shared.disaggregation.as_ref().filter(|s| s.takes(self)) {
            return Box::pin(Pairing::new(self, split, (&facts, rid)).run(features)).await;
        }
        Journey::new(self, features, rid).run().await
    }

    /// Takes a seat on the worker that the balancer chooses.
    pub(super) fn dispatch(
        &self,
        features: &RequestFeatures<'_>,
        tried: &[WorkerId],
    ) -> Result<Lease, NoWorker> {
        let mut exclude = SmallVec::<[WorkerId; 4]>::from_slice(tried);
        let now = self.shared.clock.now();
        self.shared.workers.busy(now, &mut exclude);
        match self.dispatch_among(now, features, &exclude) {
            // Better a busy worker than none.
            Err(NoWorker) if exclude.len() > tried.len() => self.dispatch_among(now, features, tried),
            result => result,
        }
    }

    fn dispatch_among(
        &self,
        asked_at: Time,
        features: &RequestFeatures<'_>,
        exclude: &[WorkerId],
    ) -> Result<Lease, NoWorker> {
        let shared = self.shared;
        let explain = shared.records.explain_level();
        let (routed, worker, seat) = {
            let mut balancer = shared.balancer.lock();
            let routed = balancer.dispatch(asked_at, features, exclude, explain)?;
            let Some(worker) = shared.workers.get(routed.ticket.worker()) else {
                // The worker left in the same instant; its seat is given back and nobody was asked.
                let finish = router_core::AttemptResult::of(Outcome::Cancelled);
                balancer.finish(asked_at, routed.ticket, finish);
                return Err(NoWorker);
            };
            let seat = worker.enter(&shared.workers, &mut balancer, asked_at);
            (routed, worker, seat)
        };
        let took = shared.clock.now().since(asked_at);
        let Dispatched { ticket, decision, snapshot, chosen, scores, shadows } = routed;
        let info = AttemptInfo::new(self.call.request_id.clone(), features, self.call.received_at)
            .with_trace(self.call.trace)
            .with_leg(self.leg);
        shared.records.decided(DecisionRecord {
            info: info.clone(),
            at: asked_at,
            worker: Arc::clone(&worker.telemetry),
            workers: shared.workers.directory(),
            decision,
            snapshot,
            chosen,
            scores,
            shadows,
            took,
        });
        Ok(Lease::new(Arc::clone(shared), (worker, seat), ticket, info))
    }

    /// Turns the worker's answer into ours.
    pub(super) fn relay(&self, answer: Answer, mut lease: Lease) -> Response<RouterBody> {
        lease.answers();
        let kind = if answer.is_stream() { Kind::Events } else { Kind::Other };
        let Answer { mut parts, connection, first } = answer;
        let load = parts.headers.get("endpoint-load-metrics").and_then(|v| v.to_str().ok());
        let load = load.and_then(router_protocol::parse_orca);
        parts.headers.insert(WORKER, lease.worker.header.clone());
        let watch = watch(kind, &parts, lease.info.route);
        let is_counted = parts.headers.contains_key(header::CONTENT_LENGTH);
        let kind = if is_counted { Kind::Other } else { kind };
        let idle = self.shared.limits.stream_idle;
        let relay = Relay::new(connection, lease, (watch, parts.status), (self.deadline, idle));
        Response::from_parts(parts, relay.with_load(load).begin(first, kind))
    }
}

/// What to look for in an answer.
fn watch(kind: Kind, parts: &response::Parts, route: Route) -> Watch {
    if !parts.status.is_success() || matches!(route, Route::Tokenize | Route::Other) {
        return Watch::Nothing;
    }
    let json = || {
        let media = parts.headers.get(header::CONTENT_TYPE);
        media.is_some_and(|media| media.as_bytes().starts_with(b"application/json"))
    };
    match kind {
        Kind::Events => Watch::Stream(StreamObserver::new(route)),
        Kind::Other if json() => Watch::Whole { chunks: SmallVec::new(), len: 0 },
        Kind::Other => Watch::Nothing,
    }
}
