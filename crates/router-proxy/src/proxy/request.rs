//! One request of a client, with what every attempt needs of it.

use super::disaggregation::{SplitRequest, is_split};
use super::retry::RetryLoop;
use super::{Rejection, affinity};
use crate::response::RouterBody;
use crate::state::AppState;
use crate::timer::DeadlineTimer;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response};
use router_core::{Route, Time};
use router_telemetry::{Leg, TraceContext};
use router_upstream::WorkerPool;
use std::sync::Arc;
use tokio::time::Instant;

/// What is known of a request before its body is read.
#[derive(Debug)]
pub(super) struct RequestOrigin {
    pub(super) route: Route,
    pub(super) request_id: HeaderValue,
    pub(super) trace: Option<TraceContext>,
    pub(super) received_at: Time,
    /// The timer of the client's connection.
    pub(super) timer: DeadlineTimer,
}

/// One request of a client, with what every attempt needs of it.
#[derive(Clone, Debug)]
pub(super) struct ProxyRequest<'a> {
    pub(super) state: &'a Arc<AppState>,
    /// Whose workers the attempts go to.
    pub(super) pool: &'a Arc<WorkerPool>,
    /// What part of the request the attempts do.
    pub(super) leg: Leg,
    pub(super) origin: &'a RequestOrigin,
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
}

impl<'a> ProxyRequest<'a> {
    pub(super) fn new(
        state: &'a Arc<AppState>,
        parts: Parts,
        body: Bytes,
        origin: &'a RequestOrigin,
    ) -> Self {
        let Parts { method, uri, headers, .. } = parts;
        Self {
            state,
            pool: &state.pool,
            leg: Leg::Whole,
            origin,
            method,
            path: uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")),
            headers,
            body,
            deadline: Instant::now() + state.limits.timeout,
        }
    }

    /// Scans the body for what policies need, and makes attempts until one succeeds or none is left.
    pub(super) async fn send(&self) -> Result<Response<RouterBody>, Rejection> {
        let (state, route) = (self.state, self.origin.route);
        let facts = router_protocol::scan(route, &self.body);
        let mut prefix = Vec::new();
        if let Some(prompt) = facts.prompt
            && state.needs.prefix_hashes
        {
            router_protocol::prefix_hashes(prompt, &mut prefix);
        }
        let mut features = facts.features(state.ids.number(), route, &prefix);
        if state.needs.text {
            features.text = facts.text();
        }
        if state.needs.script {
            features.script = facts.script();
        }
        affinity::add(&mut features, state.needs, &state.limits.key_headers, &self.headers, &facts);
        features.arrived_at = Some(self.origin.received_at);
        // A batch has many ids, and aborting one of them aborts nothing else.
        let rid = facts.rid.as_deref().filter(|_| facts.batch == 1);
        if let Some(split) = state.disaggregation.as_ref().filter(|_| is_split(self)) {
            return Box::pin(SplitRequest::new(self, split, &facts, rid).run(features)).await;
        }
        RetryLoop::new(self, features, rid).run().await
    }
}
