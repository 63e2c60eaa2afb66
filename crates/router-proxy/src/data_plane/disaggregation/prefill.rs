//! The leg that reads the prompt, from its request to the last byte of its answer.

use super::super::WORKER;
use super::super::attempt::classify;
use super::super::body::RouterBody;
use super::super::forward::Exchange;
use crate::error::{ProxyError, is_busy};
use crate::http1::Outgoing;
use crate::lease::Lease;
use crate::workers::Worker;
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderValue, Response, header};
use router_core::{AttemptResult, LoadSource, Outcome};
use router_protocol::disaggregation::InputLogprobs;
use router_protocol::{ResponseFacts, StreamObserver, read_response};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// Longest answer that is read. It is a token, unless the client wants the logprobs of a long prompt.
const MOST: usize = 256 << 20;

/// A prefill on its way. It owns its lease: dropping it takes the request from its worker.
pub(super) type Prefilling = Pin<Box<dyn Future<Output = Result<Prefilled, Unprefilled>> + Send>>;

/// A prefill that is waited for.
pub(super) struct Reading {
    pub(super) worker: Arc<Worker>,
    pub(super) end: Prefilling,
    fault: Arc<OnceLock<&'static str>>,
}

impl Reading {
    /// Waits no longer, and holds `error` against the worker.
    pub(super) fn give_up(self, error: &ProxyError) {
        // Nobody else sets it.
        let _ = self.fault.set(error.code());
    }
}

/// The lease of a prefill, for as long as it is awaited.
struct Seat {
    lease: Lease,
    fault: Arc<OnceLock<&'static str>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(error) = self.fault.get() {
            self.lease.blame(error);
            self.lease.abandon(Outcome::Failed);
        }
    }
}

/// A prompt that was read.
#[derive(Debug)]
pub(super) struct Prefilled {
    /// Whether the answer is a stream of events.
    events: bool,
    pub(super) body: Bytes,
}

/// A prompt that was not read.
#[derive(Debug)]
pub(super) enum Unprefilled {
    /// The request is at fault; the worker's answer says how.
    Refused(Box<Response<RouterBody>>),
    /// The worker is.
    Failed(ProxyError),
}

impl Prefilled {
    /// What the answer says about the prompt's tokens.
    pub(super) fn logprobs(&self) -> InputLogprobs {
        if self.events {
            InputLogprobs::from_stream(&self.body)
        } else {
            InputLogprobs::from_response(&self.body)
        }
    }
}

/// Sends the request to the lease's worker. Nothing happens before it is polled.
pub(super) fn begin(exchange: &Exchange<'_>, lease: Lease) -> Reading {
    let (worker, fault) = (Arc::clone(&lease.worker), Arc::new(OnceLock::new()));
    let request = exchange.request(&lease);
    let end = Box::pin(serve(request, Seat { lease, fault: Arc::clone(&fault) }));
    Reading { worker, end, fault }
}

async fn serve(request: Outgoing, mut seat: Seat) -> Result<Prefilled, Unprefilled> {
    let lease = &mut seat.lease;
    let (mut parts, body) = match exchange(request, lease).await {
        Ok(answer) => answer,
        Err(error) => {
            lease.blame(error.code());
            lease.give_up(Outcome::Failed);
            return Err(Unprefilled::Failed(error));
        }
    };
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let events = kind.starts_with(b"text/event-stream");
    let facts = facts(lease, events.then_some(&body), &body);
    let status = parts.status;
    let end = match failure(&parts, &facts) {
        Some((error, outcome)) => {
            lease.blame(error.code());
            Err((Unprefilled::Failed(error), outcome))
        }
        None if !status.is_success() => {
            lease.answers();
            parts.headers.insert(WORKER, lease.worker.header.clone());
            let response = Response::from_parts(parts, RouterBody::full(body.clone()));
            Err((Unprefilled::Refused(Box::new(response)), Outcome::Rejected))
        }
        None => Ok(Prefilled { events, body }),
    };
    let outcome = end.as_ref().map_or_else(|(_, outcome)| *outcome, |_| Outcome::Success);
    let now = lease.now();
    let finish = AttemptResult {
        status: Some(status.as_u16()),
        usage: facts.usage,
        timing: facts.timing,
        load: facts.load.map(|l| l.report(now, LoadSource::Piggyback)),
        ..AttemptResult::of(outcome)
    };
    lease.finish(now, finish);
    end.map_err(|(error, _)| error)
}

/// The whole answer.
async fn exchange(request: Outgoing, lease: &mut Lease) -> Result<(Parts, Bytes), ProxyError> {
    let (parts, mut connection) = lease.worker.pool.send(request).await.map_err(classify)?;
    lease.worker.heard();
    let mut body = BytesMut::new();
    while let Some(frame) = connection.frame().await {
        let frame = frame.map_err(|e| ProxyError::Broken(e.into()))?;
        let Some(data) = frame.data_ref() else { continue };
        lease.worker.heard();
        lease.byte_came();
        if body.len() + data.len() > MOST {
            return Err(ProxyError::Garbage("the prefill's answer is too long".into()));
        }
        body.extend_from_slice(data);
    }
    lease.worker.pool.put(connection);
    Ok((parts, body.freeze()))
}

fn facts(lease: &Lease, events: Option<&Bytes>, body: &Bytes) -> ResponseFacts {
    match events {
        Some(events) => {
            let mut watch = StreamObserver::new(lease.info.route);
            watch.push(events);
            watch.finish()
        }
        None => read_response(body),
    }
}

/// What is wrong with an answer, if it is the worker's fault. SGLang may say so inside a 200: a prompt that it gave up
/// is never handed over, and the decode worker would wait for it in vain.
fn failure(parts: &Parts, facts: &ResponseFacts) -> Option<(ProxyError, Outcome)> {
    let status = parts.status;
    if is_busy(status) {
        return Some((ProxyError::Status(status), Outcome::Busy));
    }
    if status.is_server_error() {
        return Some((ProxyError::Status(status), Outcome::Failed));
    }
    let inner = facts.error.as_ref().and_then(|e| e.status);
    let message = || facts.error.as_ref().map_or_else(|| "aborted".to_owned(), |e| e.message.to_string());
    match inner {
        Some(429 | 503) => Some((ProxyError::Status(http::StatusCode::SERVICE_UNAVAILABLE), Outcome::Busy)),
        // The decode worker says the same to the client.
        Some(400..=499) => None,
        Some(_) => Some((ProxyError::Aborted(message().into()), Outcome::Failed)),
        None if facts.aborted => Some((ProxyError::Aborted(message().into()), Outcome::Failed)),
        None => None,
    }
}
