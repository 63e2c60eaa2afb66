//! The prefill leg, from its request to the last byte of its response.

use crate::error::ProxyError;
use crate::headers::WORKER;
use crate::lease::Lease;
use crate::proxy::attempt::{attempt_error, response_error};
use crate::proxy::buffered_response::BufferedResponse;
use crate::proxy::request::ProxyRequest;
use crate::response::{RouterBody, final_outcome, is_event_stream};
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{Response, StatusCode};
use router_core::{AttemptResult, LoadSource, Outcome};
use router_protocol::disaggregation::InputLogprobs;
use router_protocol::{ResponseFacts, StreamObserver, read_response};
use router_telemetry::RetryReason;
use router_upstream::{Candidate, CollectError, WorkerRequest};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

/// The longest response that is read, in bytes. It is a token, unless the client wants the logprobs of a long prompt.
const MAX_LEN: usize = 256 << 20;

/// A prefill that is running. It owns its lease: dropping it cancels the request on its worker.
type PrefillFuture = Pin<Box<dyn Future<Output = Result<PrefillOutput, PrefillError>> + Send>>;

/// A prefill that is waited for.
pub(super) struct PrefillTask {
    pub(super) candidate: Arc<Candidate>,
    pub(super) output: PrefillFuture,
    error: Arc<OnceLock<&'static str>>,
}

impl PrefillTask {
    /// Waits no longer, and counts `error` against the worker.
    pub(super) fn abandon(self, error: &ProxyError) {
        // Nothing else sets it.
        let _ = self.error.set(error.code());
    }

    /// The task as something that runs on without its output being needed; whether it succeeded.
    pub(super) fn into_running(self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let output = self.output;
        Box::pin(async move { output.await.is_ok() })
    }
}

/// The lease of a prefill, for as long as it is waited for.
struct PrefillLease {
    lease: Lease,
    error: Arc<OnceLock<&'static str>>,
}

impl Drop for PrefillLease {
    fn drop(&mut self) {
        if let Some(error) = self.error.get() {
            self.lease.set_error(error);
            self.lease.abort(Outcome::Failed);
        }
    }
}

/// What a prefill worker responded.
#[derive(Debug)]
pub(super) struct PrefillOutput {
    is_stream: bool,
    pub(super) body: Bytes,
}

/// Why a prefill failed.
#[derive(Debug)]
pub(super) enum PrefillError {
    /// The request is at fault; the client gets the worker's response, which says how.
    Rejected(Box<Response<RouterBody>>),
    /// The worker is at fault.
    Failed {
        /// How.
        error: ProxyError,
        /// What it responded, if it responded with an error.
        response: Option<Box<BufferedResponse>>,
    },
}

impl PrefillOutput {
    /// What the response says about the prompt's tokens.
    pub(super) fn logprobs(&self) -> InputLogprobs {
        if self.is_stream {
            InputLogprobs::from_stream(&self.body)
        } else {
            InputLogprobs::from_response(&self.body)
        }
    }
}

/// Prepares to send the request to the lease's worker. Nothing happens before the task is polled.
pub(super) async fn start(request: &ProxyRequest<'_>, lease: Lease) -> PrefillTask {
    let (candidate, error) = (Arc::clone(&lease.candidate), Arc::new(OnceLock::new()));
    let encoded = request.encode(&lease).await;
    let output = Box::pin(run(encoded, PrefillLease { lease, error: Arc::clone(&error) }));
    PrefillTask { candidate, output, error }
}

async fn run(request: WorkerRequest, mut lease: PrefillLease) -> Result<PrefillOutput, PrefillError> {
    let lease = &mut lease.lease;
    let (mut parts, body) = match exchange(request, lease).await {
        Ok(response) => response,
        Err(error) => {
            lease.set_error(error.code());
            lease.finish_as(error.outcome());
            return Err(PrefillError::Failed { error, response: None });
        }
    };
    let is_stream = is_event_stream(&parts.headers);
    let facts = facts(lease, is_stream, &body);
    let status = parts.status;
    let end = match failure(&parts, &facts) {
        Some((error, outcome)) => {
            lease.set_error(error.code());
            let reason = if outcome == Outcome::Busy { RetryReason::Overloaded } else { RetryReason::Failed };
            let response = if status.is_success() {
                None
            } else {
                BufferedResponse::of(parts, body, &lease.candidate, reason)
            };
            Err((PrefillError::Failed { error, response: response.map(Box::new) }, outcome))
        }
        None if !status.is_success() => {
            lease.mark_delivered();
            parts.headers.insert(WORKER, lease.candidate.header.clone());
            let response = Response::from_parts(parts, RouterBody::full(body.clone()));
            Err((PrefillError::Rejected(Box::new(response)), Outcome::Rejected))
        }
        None => Ok(PrefillOutput { is_stream, body }),
    };
    let outcome = end.as_ref().map_or_else(|(_, outcome)| *outcome, |_| Outcome::Success);
    let now = lease.now();
    let result = AttemptResult {
        status: Some(status.as_u16()),
        usage: facts.usage,
        timing: facts.timing,
        load: facts.load.map(|l| l.report(now, LoadSource::Piggyback)),
        ..AttemptResult::of(outcome)
    };
    lease.finish(now, result);
    end.map_err(|(error, _)| error)
}

/// Sends the request and reads the whole response.
async fn exchange(request: WorkerRequest, lease: &mut Lease) -> Result<(Parts, Bytes), ProxyError> {
    let candidate = Arc::clone(&lease.candidate);
    let worker = &candidate.worker;
    let (parts, mut connection) = worker.transport.send(request).await.map_err(attempt_error)?;
    worker.record_activity();
    let on_data = |_: &Bytes| {
        worker.record_activity();
        lease.on_first_byte();
    };
    let body = connection.collect(BytesMut::new(), MAX_LEN, on_data).await.map_err(|error| match error {
        CollectError::TooLarge(_) => ProxyError::InvalidResponse("the prefill response is too long".into()),
        CollectError::Response(error) => response_error(error),
    })?;
    worker.transport.release(connection);
    Ok((parts, body))
}

fn facts(lease: &Lease, is_stream: bool, body: &Bytes) -> ResponseFacts {
    if is_stream {
        let mut observer = StreamObserver::new(lease.info.route);
        observer.push(body);
        observer.finish()
    } else {
        read_response(body)
    }
}

/// What is wrong with a response, if it is the worker's fault. SGLang may say so inside a 200: a prompt that it aborted
/// is never handed over, and the decode worker would wait for it in vain.
fn failure(parts: &Parts, facts: &ResponseFacts) -> Option<(ProxyError, Outcome)> {
    let status = parts.status;
    let outcome = final_outcome(status, Some(facts), false);
    let message = || facts.error.as_ref().map_or_else(|| "aborted".to_owned(), |e| e.message.to_string());
    match outcome {
        Outcome::Busy | Outcome::Failed if !status.is_success() => {
            Some((ProxyError::Status(status), outcome))
        }
        Outcome::Busy => Some((ProxyError::Status(StatusCode::SERVICE_UNAVAILABLE), outcome)),
        Outcome::Failed => Some((ProxyError::Aborted(message().into()), outcome)),
        Outcome::Success if facts.aborted => Some((ProxyError::Aborted(message().into()), Outcome::Failed)),
        // The decode worker says the same to the client.
        _ => None,
    }
}
