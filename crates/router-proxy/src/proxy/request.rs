//! One request of a client, with what every attempt needs of it.

use super::websocket;
use crate::dispatch::Dispatcher;
use crate::large_body::is_large;
use crate::lease::ClientRid;
use crate::models::ServingGroup;
use crate::request_id::RequestName;
use crate::response::TunnelSlot;
use crate::security::ForwardedLines;
use crate::state::AppState;
use crate::timer::DeadlineTimer;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use router_core::{Route, Time, WorkerId};
use router_protocol::set_members;
use router_telemetry::{AttemptNotes, Leg, TraceContext};
use router_upstream::{CallCheck, WorkerPool};
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;

/// What is known of a request before its body is read.
#[derive(Debug)]
pub(super) struct RequestOrigin {
    pub(super) route: Route,
    pub(super) name: RequestName,
    pub(super) trace: Option<TraceContext>,
    /// Where attempts leave what the access log says of them; absent where the request has no line.
    pub(super) notes: Option<Arc<AttemptNotes>>,
    /// What workers are told of the client.
    pub(super) forwarded: ForwardedLines,
    pub(super) received_at: Time,
    /// The timer of the client's connection.
    pub(super) timer: DeadlineTimer,
}

/// One request of a client, with what every attempt needs of it.
#[derive(Clone, Debug)]
pub(super) struct ProxyRequest<'a> {
    pub(super) state: &'a Arc<AppState>,
    /// The workers of its model.
    pub(super) group: &'a ServingGroup,
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
    /// Where the request leaves its tunnel, if it asks for a WebSocket.
    pub(super) tunnel: Option<TunnelSlot>,
    /// Whether gRPC workers have a call for it, once that was asked.
    pub(super) call_check: OnceLock<CallCheck>,
}

impl<'a> ProxyRequest<'a> {
    pub(super) fn new(
        state: &'a Arc<AppState>,
        group: &'a ServingGroup,
        mut parts: Parts,
        body: Bytes,
        origin: &'a RequestOrigin,
    ) -> Self {
        let tunnel = websocket::slot(&mut parts);
        let Parts { method, uri, headers, .. } = parts;
        Self {
            state,
            group,
            pool: &group.pool,
            leg: Leg::Whole,
            origin,
            method,
            path: uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")),
            headers,
            body,
            deadline: Instant::now() + state.live().limits.timeout,
            tunnel,
            call_check: OnceLock::new(),
        }
    }

    /// Dispatches its attempts; workers know it by `rid`.
    pub(super) fn dispatcher<'d>(&'d self, rid: ClientRid<'d>) -> Dispatcher<'d> {
        Dispatcher {
            pool: self.pool,
            leg: self.leg,
            id: self.origin.name.id(),
            trace: self.origin.trace,
            notes: self.origin.notes.as_ref(),
            received_at: self.origin.received_at,
            rid,
            headers: &self.headers,
        }
    }

    /// Gives the model its own name in the body, in place of an alias. A body that is no JSON object stays as it is.
    pub(super) async fn rename_model(&mut self, model: &str) {
        let name = serde_json::Value::from(model).to_string();
        let renamed = self.edit_body(move |body| set_members(body, &[("model", name)])).await;
        self.body = renamed.unwrap_or_else(|| self.body.clone());
    }

    /// The workers that cannot take the request while others can, because they are reached by gRPC alone.
    pub(super) fn without_call(&self) -> Vec<WorkerId> {
        let check = || CallCheck::new(&self.method, self.path.path(), &self.body);
        self.pool.candidates.without_call(|| self.call_check.get_or_init(check).has_call())
    }

    /// What `work` makes of the body, done apart where the body is large.
    pub(super) async fn edit_body<T: Send + 'static>(
        &self,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> T {
        if !is_large(&self.body) {
            return work(&self.body);
        }
        let body = self.body.clone();
        Box::pin(self.state.large_bodies.run(move || work(&body))).await
    }
}
