//! Sends one request to the worker that the balancer chose, and to another one where that is safe.

use super::body::RouterBody;
use super::headers::strip_hop_by_hop;
use super::relay::{Relay, Watch};
use super::trace_context::{TRACEPARENT, TraceContext};
use super::{REQUEST_ID, WORKER};
use crate::error::{Cause, ProxyError, Retry};
use crate::lease::Lease;
use crate::record::{DecisionRecord, Outline};
use crate::router::Shared;
use crate::workers::{Connection, ExchangeError};
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use router_core::{Features, NoWorker, Outcome, Route, Routed, Time, WorkerId};
use router_protocol::StreamWatch;
use smallvec::SmallVec;
use std::sync::Arc;
use tokio::time::Instant;

/// One request of a client, with what every attempt needs of it.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    route: Route,
    request_id: HeaderValue,
    trace: Option<TraceContext>,
    received_at: Time,
    deadline: Instant,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        parts: Parts,
        body: Bytes,
        (route, request_id, received_at): (Route, HeaderValue, Time),
    ) -> Self {
        let Parts { method, uri, mut headers, .. } = parts;
        strip_hop_by_hop(&mut headers);
        headers.insert(REQUEST_ID, request_id.clone());
        headers.remove(header::EXPECT);
        Self {
            shared,
            method,
            path: uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/")),
            headers,
            body,
            route,
            request_id,
            trace: None,
            received_at,
            deadline: Instant::now() + shared.limits.timeout,
        }
    }

    /// The same, as a part of `trace`.
    pub(super) fn traced(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// Attempts until one is answered or none is left.
    pub(super) async fn run(self) -> Result<Response<RouterBody>, ProxyError> {
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
        features.arrived_at = Some(self.received_at);
        let mut tried = SmallVec::<[WorkerId; 4]>::new();
        let mut failure = None;
        loop {
            let seat = self
                .shared
                .admission
                .seats
                .take(|| self.shared.vacancy(&tried), || self.dispatch(&features, &tried));
            let lease = match seat.await {
                Ok(lease) => lease,
                Err(full) => return Err(failure.or(full).unwrap_or_else(|| self.shared.nobody())),
            };
            let worker = Arc::clone(&lease.worker);
            let error = match self.attempt(lease).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if matches!(error, ProxyError::Connect(_)) {
                worker.unreachable(self.shared);
            }
            if error.retry() == Retry::Never || features.attempt >= self.shared.limits.max_retries {
                return Err(error);
            }
            tried.push(worker.id);
            features.attempt += 1;
            self.shared.records.retried(self.route);
            failure = Some(error);
        }
    }

    /// Takes a seat on the worker that the balancer chooses.
    fn dispatch(&self, features: &Features<'_>, tried: &[WorkerId]) -> Result<Lease, NoWorker> {
        let shared = self.shared;
        let asked_at = shared.clock.now();
        let explain = shared.records.explain();
        let routed = shared.balancer.lock().dispatch(asked_at, features, tried, explain)?;
        let took = shared.clock.now().since(asked_at);
        let Routed { ticket, decision, standing, chosen, scores, shadows } = routed;
        let Some(worker) = shared.workers.get(ticket.worker()) else {
            // The worker left in the same instant; its seat is given back and nobody was asked.
            let finish = router_core::Finish::bare(Outcome::Cancelled);
            shared.balancer.lock().finish(asked_at, ticket, finish);
            return Err(NoWorker);
        };
        let outline = Outline::new(self.request_id.clone(), features, self.received_at).traced(self.trace);
        shared.records.decided(DecisionRecord {
            outline: outline.clone(),
            at: asked_at,
            worker: Arc::clone(&worker),
            workers: shared.workers.snapshot(),
            decision,
            standing,
            chosen,
            scores,
            shadows,
            took,
        });
        Ok(Lease::new(Arc::clone(shared), worker, ticket, outline))
    }

    /// One attempt on one worker.
    async fn attempt(&self, mut lease: Lease) -> Result<Response<RouterBody>, ProxyError> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = lease.worker.target.uri(&self.path);
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::HOST, lease.worker.host.clone());
        if let Some(trace) = self.trace {
            request.headers_mut().insert(TRACEPARENT, trace.header(lease.outline.attempt));
        }
        let sent = lease.worker.pool.send(request);
        let error = match tokio::time::timeout_at(self.deadline, sent).await {
            Ok(Ok((response, connection))) => return Ok(self.relay(response, connection, lease)),
            Ok(Err(error)) => classify(error),
            Err(_) => ProxyError::Timeout(self.shared.limits.timeout),
        };
        lease.blame(error.code());
        lease.give_up(Outcome::Failed);
        Err(error)
    }

    /// Turns the worker's answer into ours.
    fn relay(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        mut lease: Lease,
    ) -> Response<RouterBody> {
        lease.answers();
        let (mut parts, incoming) = response.into_parts();
        let load = parts.headers.get("endpoint-load-metrics").and_then(|v| v.to_str().ok());
        let load = load.and_then(router_protocol::parse_orca);
        strip_hop_by_hop(&mut parts.headers);
        parts.headers.insert(WORKER, lease.worker.header.clone());
        let watch = watch(parts.status, &parts.headers, lease.outline.route);
        let mut relay = Relay {
            incoming,
            connection: Some(connection),
            lease,
            watch,
            status: parts.status,
            load,
            deadline: self.deadline,
            failure: None,
            sleep: None,
        };
        if relay.is_end_stream() {
            relay.complete();
        }
        Response::from_parts(parts, RouterBody::relay(relay))
    }
}

/// What to look for in an answer.
fn watch(status: StatusCode, headers: &HeaderMap, route: Route) -> Watch {
    let kind = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !status.is_success() || matches!(route, Route::Tokenize | Route::Other) {
        Watch::Nothing
    } else if kind.starts_with(b"text/event-stream") {
        Watch::Stream(StreamWatch::new(route))
    } else if kind.starts_with(b"application/json") {
        Watch::Whole { chunks: SmallVec::new(), len: 0 }
    } else {
        Watch::Nothing
    }
}

/// Whose fault a failed exchange is, and whether the worker can have seen the request.
fn classify(error: ExchangeError) -> ProxyError {
    let garbage = matches!(&error, ExchangeError::Http(e) if e.is_parse() || e.is_parse_too_large());
    let connect = matches!(error, ExchangeError::Connect { .. });
    let cause: Cause = error.into();
    match (connect, garbage) {
        (true, _) => ProxyError::Connect(cause),
        (_, true) => ProxyError::Garbage(cause),
        _ => ProxyError::Broken(cause),
    }
}
