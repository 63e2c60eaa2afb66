//! One attempt on one worker, up to the first byte of its answer's body.
//!
//! Nothing of an answer goes to the client before its first byte is here: until then, another worker may still do
//! better.

use super::REQUEST_ID;
use super::forward::Exchange;
use crate::error::{Cause, ProxyError};
use crate::http1::{AnswerError, Outgoing};
use crate::lease::Lease;
use crate::workers::{Connection, ExchangeError, Worker};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::Frame;
use router_config::Engine;
use router_core::Route;
use router_protocol::{StreamObserver, set_rank};
use router_telemetry::TRACEPARENT;
use std::time::Duration;

/// The data-parallel rank that is to serve the request. vLLM heeds it, and SGLang on the OpenAI routes.
const RANK: HeaderName = HeaderName::from_static("x-data-parallel-rank");

/// Asks for a load report in the answer's headers (ORCA). vLLM heeds it.
const LOAD_WISH: HeaderName = HeaderName::from_static("endpoint-load-metrics-format");

/// A worker's answer whose first byte has come.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) parts: Parts,
    /// Brings the body.
    pub(super) connection: Connection,
    /// The first frame of the body; absent where there is none.
    pub(super) first: Option<Frame<Bytes>>,
}

/// What a worker's answer asks of the router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    /// To be passed on, whatever it says.
    Final,
    /// The worker has no room: another one may.
    Busy,
    /// The worker failed: another one may not.
    Fault,
}

impl Exchange<'_> {
    /// Sends the request to the lease's worker and waits for the first byte.
    pub(super) async fn attempt(&self, lease: &Lease) -> Result<Answer, ProxyError> {
        let worker = &lease.worker;
        let sent = worker.pool.send(self.request(lease)).await;
        let (parts, mut connection) = sent.map_err(classify)?;
        worker.heard();
        let first = if connection.is_over() { None } else { connection.frame().await };
        match first.transpose() {
            Ok(first) => Ok(Answer { parts, connection, first }),
            Err(error) => Err(ProxyError::Broken(error.into())),
        }
    }

    /// The request as this worker gets it.
    pub(super) fn request(&self, lease: &Lease) -> Outgoing {
        let worker = &lease.worker;
        let body = self.body_for(worker).unwrap_or_else(|| self.body.clone());
        let mut head = worker.request(&self.method, &self.path, body);
        head.set(REQUEST_ID, &self.call.request_id);
        if let Some(rank) = worker.rank {
            head.set(RANK, &rank.into());
        }
        if let Some(trace) = self.call.trace {
            head.set(TRACEPARENT, &trace.traceparent(lease.info.attempt));
        }
        let is_told_of_load = self.shared.needs.load_reports && !self.headers.contains_key(LOAD_WISH);
        if is_told_of_load && worker.profile.load().engine() == Some(Engine::Vllm) {
            head.set(LOAD_WISH, &HeaderValue::from_static("JSON"));
        }
        head.pass(&self.headers);
        head.end()
    }

    /// The body that this worker gets where it is not the one that came: the rank that is to serve the request stands in
    /// it.
    fn body_for(&self, worker: &Worker) -> Option<Bytes> {
        let rank = worker.rank.filter(|_| !matches!(self.route, Route::Tokenize | Route::Other))?;
        if worker.profile.load().engine() == Some(Engine::Vllm) {
            return None;
        }
        set_rank(&self.body, rank)
    }
}

impl Answer {
    /// Whether this is a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        let kind = self.parts.headers.get(header::CONTENT_TYPE);
        kind.is_some_and(|k| k.as_bytes().starts_with(b"text/event-stream"))
    }

    /// What the answer asks of the router.
    pub(super) fn tone(&self, route: Route) -> Tone {
        let status = self.parts.status;
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Tone::Busy,
            // It would not be implemented elsewhere either.
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Tone::Final,
            // What an unknown path does may not be for doing twice.
            _ if status.is_server_error() && route == Route::Other => Tone::Final,
            _ if status.is_server_error() => Tone::Fault,
            _ if status.is_success() && self.is_stream() => self.tone_of_stream(route),
            _ => Tone::Final,
        }
    }

    /// SGLang answers 200 to a stream before it knows whether it has room: then the stream is empty (0.4.10), or its
    /// first event is an error (0.5.23).
    fn tone_of_stream(&self, route: Route) -> Tone {
        let Some(data) = self.first.as_ref().and_then(Frame::data_ref) else { return Tone::Busy };
        // Few first events have either word, so that hardly any is read twice.
        let suspicious =
            [&b"\"error\""[..], b"\"abort\""].iter().any(|w| memchr::memmem::find(data, w).is_some());
        if !suspicious {
            return Tone::Final;
        }
        let mut watch = StreamObserver::new(route);
        watch.push(data);
        match watch.finish().error.and_then(|e| e.status) {
            Some(429 | 503) => Tone::Busy,
            Some(500..) => Tone::Fault,
            _ => Tone::Final,
        }
    }

    /// How long the worker wants to be spared, if it says.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let value = self.parts.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        value.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Whose fault a failed exchange is, and whether the worker can have seen the request.
pub(super) fn classify(error: ExchangeError) -> ProxyError {
    let garbage = matches!(error, ExchangeError::Answer(AnswerError::Garbage(_)));
    let connect = matches!(error, ExchangeError::Connect { .. });
    let cause: Cause = error.into();
    match (connect, garbage) {
        (true, _) => ProxyError::Connect(cause),
        (_, true) => ProxyError::Garbage(cause),
        _ => ProxyError::Broken(cause),
    }
}
