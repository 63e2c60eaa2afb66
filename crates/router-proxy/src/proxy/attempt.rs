//! One attempt on one worker, up to the first byte of its response's body.
//!
//! Nothing of a response goes to the client before its first byte is here: until then another worker may be tried.

use super::request::ProxyRequest;
use super::websocket::WEBSOCKET;
use crate::dispatch::retry_after;
use crate::error::ProxyError;
use crate::headers::WORKER;
use crate::lease::Lease;
use crate::response::{
    BodyDeadlines, ClientFraming, FirstFrame, ObservedResponse, RouterBody, UpstreamBody, first_outcome,
    is_event_stream, is_undecided,
};
use crate::routing::{RequestLabels, add_worker_headers};
use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode, header};
use http_body::Frame;
use router_core::{Outcome, Route};
use router_protocol::set_rank;
use router_telemetry::{Clock, RetryReason};
use router_upstream::{Candidate, ResponseError, UpstreamError, WorkerConnection, WorkerRequest};
use std::time::Duration;

/// A worker's response whose first byte has come.
#[derive(Debug)]
pub(super) struct UpstreamResponse {
    pub(super) parts: Parts,
    /// Where the rest of the body comes from.
    pub(super) connection: WorkerConnection,
    /// The first frame of the body; absent where there is none, or none yet.
    pub(super) first: Option<Frame<Bytes>>,
    /// What the head and the first frame say about the worker.
    pub(super) outcome: Outcome,
}

impl ProxyRequest<'_> {
    /// Sends the request to the lease's worker and waits for the first byte.
    pub(super) async fn attempt(&self, lease: &Lease) -> Result<UpstreamResponse, ProxyError> {
        let worker = &lease.candidate.worker;
        let sent = worker.transport.send(self.encode(lease).await).await;
        let (parts, mut connection) = sent.map_err(attempt_error)?;
        worker.record_activity();
        let first = if connection.is_over() { None } else { self.first_frame(&parts, &mut connection).await };
        let mut first = first.transpose().map_err(response_error)?;
        if let Some(data) = first.as_ref().and_then(Frame::data_ref)
            && is_undecided(&parts, data, self.origin.route)
            && let Some(next) = connection.frame().await.transpose().map_err(response_error)?
        {
            first = Some(joined(data, next));
        }
        let data = match first.as_ref().and_then(Frame::data_ref) {
            None if !connection.is_over() => FirstFrame::Late,
            None => FirstFrame::Absent,
            Some(data) if connection.is_over() => FirstFrame::Whole(data),
            Some(data) => FirstFrame::Beginning(data),
        };
        let outcome = first_outcome(&parts, data, self.origin.route);
        Ok(UpstreamResponse { parts, connection, first, outcome })
    }

    /// The first frame of the body. There is none yet where the client is to be kept alive: its response then begins, and no
    /// other worker can be tried any more.
    async fn first_frame(
        &self,
        parts: &Parts,
        connection: &mut WorkerConnection,
    ) -> Option<Result<Frame<Bytes>, ResponseError>> {
        let frame = connection.frame();
        match self.state.live().limits.keep_alive.filter(|_| parts.status.is_success() && takes_events(parts))
        {
            None => frame.await,
            Some(silence) => tokio::time::timeout(silence, frame).await.unwrap_or(None),
        }
    }

    /// The request as this worker gets it.
    pub(super) async fn encode(&self, lease: &Lease) -> WorkerRequest {
        let candidate = &lease.candidate;
        let body = self.body_for(candidate).await.unwrap_or_else(|| self.body.clone());
        let mut head = candidate.worker.request(&self.method, &self.path, body);
        let labels = RequestLabels { name: &self.origin.name, trace: self.origin.trace };
        add_worker_headers(self.state, lease, labels, &self.headers, |name, value| head.set(name, value));
        for (name, value) in &self.origin.forwarded {
            head.set(name.clone(), value);
        }
        if self.tunnel.is_some() {
            head.ask_for_upgrade(&WEBSOCKET);
        }
        if lease.has_client_rid() {
            head.forbid_repeat();
        }
        if let Some(check) = self.call_check.get() {
            head.reuse(check);
        }
        head.set_deadline(self.deadline);
        head.forward(&self.headers);
        head.finish()
    }

    /// The body for a worker whose engine wants the rank in it; absent where the client's body goes as it is.
    async fn body_for(&self, candidate: &Candidate) -> Option<Bytes> {
        let route = self.origin.route;
        let rank = candidate.rank.filter(|_| route.runs_the_model())?;
        if !candidate.worker.quirks().rank_in_body {
            return None;
        }
        self.edit_body(move |body| set_rank(body, rank)).await
    }

    /// Passes the response on to the client.
    pub(super) fn forward_response(
        &self,
        response: UpstreamResponse,
        mut lease: Lease,
    ) -> Response<RouterBody> {
        lease.mark_delivered();
        if response.parts.status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(slot) = &self.tunnel
        {
            lease.on_switched();
            return self.open_tunnel(response, lease, slot);
        }
        let UpstreamResponse { mut parts, connection, first, .. } = response;
        parts.headers.insert(WORKER, lease.candidate.header.clone());
        let framing = if takes_events(&parts) { ClientFraming::Events } else { ClientFraming::Other };
        let live = self.state.live();
        let limits = &live.limits;
        let deadlines = BodyDeadlines {
            total: self.deadline,
            idle: limits.stream_idle,
            keep_alive: limits.keep_alive.filter(|_| framing == ClientFraming::Events),
        };
        let body = UpstreamBody::new(connection, ObservedResponse::new(lease, &parts), deadlines);
        Response::from_parts(parts, RouterBody::upstream(body, first, framing))
    }
}

impl UpstreamResponse {
    /// Whether this is a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        is_event_stream(&self.parts.headers)
    }

    /// Why another worker may be tried, if one may.
    pub(super) const fn retry_reason(&self, route: Route) -> Option<RetryReason> {
        match self.outcome {
            Outcome::Busy => Some(RetryReason::Overloaded),
            Outcome::Failed if route.retries_after_error() => Some(RetryReason::Failed),
            _ => None,
        }
    }

    /// How long the worker asks not to be sent requests, if it says.
    pub(super) fn retry_after(&self, clock: &Clock) -> Option<Duration> {
        // The clock is read only where a response asks for it.
        if !self.parts.headers.contains_key(header::RETRY_AFTER) {
            return None;
        }
        retry_after(&self.parts.headers, clock.unix(clock.now()))
    }
}

/// Whether events of the router can stand in a body with this head: not where its bytes are counted or encoded.
fn takes_events(parts: &Parts) -> bool {
    let is_closed = parts.headers.contains_key(header::CONTENT_LENGTH)
        || parts.headers.contains_key(header::CONTENT_ENCODING);
    is_event_stream(&parts.headers) && !is_closed
}

/// Two frames as one.
fn joined(data: &Bytes, next: Frame<Bytes>) -> Frame<Bytes> {
    let next = next.into_data().unwrap_or_default();
    Frame::data([&data[..], &next[..]].concat().into())
}

/// What a failed exchange with a worker means: whether the worker can have seen the request, and whose fault it is.
pub(super) fn attempt_error(error: UpstreamError) -> ProxyError {
    match error {
        UpstreamError::Response(error) => response_error(error),
        UpstreamError::Stale(_) => ProxyError::Stale(error.into()),
        UpstreamError::Connect { .. } => ProxyError::Connect(Box::new(error)),
    }
}

/// What it means that a worker's response did not arrive.
pub(super) fn response_error(error: ResponseError) -> ProxyError {
    match error {
        ResponseError::Invalid(_) | ResponseError::NotGrpc(_) => ProxyError::InvalidResponse(error.into()),
        ResponseError::Closed | ResponseError::Broken(_) => ProxyError::Disconnected(error.into()),
    }
}
