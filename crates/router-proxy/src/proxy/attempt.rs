//! One attempt on one worker, up to the first byte of its response's body.
//!
//! Nothing of a response goes to the client before its first byte is here: until then another worker may be tried.

use super::request::ProxyRequest;
use super::retry_after::retry_after;
use crate::error::ProxyError;
use crate::headers::{REQUEST_ID, WORKER};
use crate::lease::Lease;
use crate::response::{
    BodyDeadlines, ClientFraming, ResponseObserver, RouterBody, UpstreamBody, is_event_stream,
};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use router_core::Route;
use router_protocol::{StreamObserver, set_rank};
use router_telemetry::{Clock, TRACEPARENT};
use router_upstream::{
    Candidate, EncodedRequest, LOAD_REPORT_HEADER, RANK_HEADER, ResponseError, UpstreamError,
    WorkerConnection,
};
use std::time::Duration;

/// A worker's response whose first byte has come.
#[derive(Debug)]
pub(super) struct UpstreamResponse {
    pub(super) parts: Parts,
    /// Where the rest of the body comes from.
    pub(super) connection: WorkerConnection,
    /// The first frame of the body; absent where there is none.
    pub(super) first: Option<Frame<Bytes>>,
}

/// What a worker's response asks of the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResponseClass {
    /// To be passed on, whatever it says.
    Final,
    /// The worker has no room: another one may.
    Overloaded,
    /// The worker failed: another one may not.
    Failed,
}

impl ProxyRequest<'_> {
    /// Sends the request to the lease's worker and waits for the first byte.
    pub(super) async fn attempt(&self, lease: &Lease) -> Result<UpstreamResponse, ProxyError> {
        let worker = &lease.candidate.worker;
        let sent = worker.pool.send(self.encode(lease)).await;
        let (parts, mut connection) = sent.map_err(attempt_error)?;
        worker.record_activity();
        let first = if connection.is_over() { None } else { connection.frame().await };
        match first.transpose() {
            Ok(first) => Ok(UpstreamResponse { parts, connection, first }),
            Err(error) => Err(response_error(error)),
        }
    }

    /// The request as this worker gets it.
    pub(super) fn encode(&self, lease: &Lease) -> EncodedRequest {
        let candidate = &lease.candidate;
        let body = self.body_for(candidate).unwrap_or_else(|| self.body.clone());
        let mut head = candidate.worker.request(&self.method, &self.path, body);
        head.set(REQUEST_ID, &self.origin.request_id);
        if let Some(rank) = candidate.rank {
            head.set(RANK_HEADER, &rank.into());
        }
        if let Some(trace) = self.origin.trace {
            head.set(TRACEPARENT, &trace.traceparent(lease.info.attempt));
        }
        let wants_load = self.state.needs.load_reports && !self.headers.contains_key(LOAD_REPORT_HEADER);
        if wants_load && candidate.worker.quirks().reports_load_in_headers {
            head.set(LOAD_REPORT_HEADER, &HeaderValue::from_static("JSON"));
        }
        if lease.has_client_rid() {
            head.forbid_repeat();
        }
        head.forward(&self.headers);
        head.finish()
    }

    /// The body for a worker whose engine wants the rank in it; absent where the client's body goes as it is.
    fn body_for(&self, candidate: &Candidate) -> Option<Bytes> {
        let route = self.origin.route;
        let rank = candidate.rank.filter(|_| route.runs_the_model())?;
        if candidate.worker.quirks().rank_in_body { set_rank(&self.body, rank) } else { None }
    }

    /// Passes the response on to the client.
    pub(super) fn forward_response(
        &self,
        response: UpstreamResponse,
        mut lease: Lease,
    ) -> Response<RouterBody> {
        lease.mark_delivered();
        let is_stream = response.is_stream();
        let UpstreamResponse { mut parts, connection, first } = response;
        let load = parts.headers.get("endpoint-load-metrics").and_then(|v| v.to_str().ok());
        let load = load.and_then(router_protocol::parse_orca);
        parts.headers.insert(WORKER, lease.candidate.header.clone());
        let observer = ResponseObserver::new(&parts, lease.info.route);
        let is_counted = parts.headers.contains_key(header::CONTENT_LENGTH);
        let framing = if is_stream && !is_counted { ClientFraming::Events } else { ClientFraming::Other };
        let deadlines = BodyDeadlines { total: self.deadline, idle: self.state.limits.stream_idle };
        let body = UpstreamBody::new(connection, lease, observer, parts.status, deadlines).with_load(load);
        Response::from_parts(parts, RouterBody::upstream(body, first, framing))
    }
}

impl UpstreamResponse {
    /// Whether this is a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        is_event_stream(&self.parts.headers)
    }

    /// What the response asks of the router.
    pub(super) fn classify(&self, route: Route) -> ResponseClass {
        let status = self.parts.status;
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => ResponseClass::Overloaded,
            // It would not be implemented elsewhere either.
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => ResponseClass::Final,
            _ if status.is_server_error() && !route.retries_after_error() => ResponseClass::Final,
            _ if status.is_server_error() => ResponseClass::Failed,
            _ if status.is_success() && self.is_stream() => self.classify_stream(route),
            _ => ResponseClass::Final,
        }
    }

    /// SGLang responds 200 to a stream before it knows whether it has room: then the stream is empty (0.4.10), or its
    /// first event is an error (0.5.23).
    fn classify_stream(&self, route: Route) -> ResponseClass {
        let Some(data) = self.first.as_ref().and_then(Frame::data_ref) else {
            return ResponseClass::Overloaded;
        };
        // Few first events contain either word, so that hardly any is parsed twice.
        let is_suspicious =
            [&b"\"error\""[..], b"\"abort\""].iter().any(|w| memchr::memmem::find(data, w).is_some());
        if !is_suspicious {
            return ResponseClass::Final;
        }
        let mut observer = StreamObserver::new(route);
        observer.push(data);
        match observer.finish().error.and_then(|e| e.status) {
            Some(429 | 503) => ResponseClass::Overloaded,
            Some(500..) => ResponseClass::Failed,
            _ => ResponseClass::Final,
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
        ResponseError::Invalid(_) => ProxyError::InvalidResponse(error.into()),
        ResponseError::Closed | ResponseError::Broken(_) => ProxyError::Disconnected(error.into()),
    }
}
