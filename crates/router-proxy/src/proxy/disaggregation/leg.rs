//! One leg of a split request: which workers it may go to, and how it ends.

use super::prefill::{PrefillError, PrefillTask};
use crate::dispatch::ExcludedWorkers;
use crate::error::ProxyError;
use crate::headers::PREFILL_WORKER;
use crate::lease::{ClientRid, Lease};
use crate::proxy::attempt::UpstreamResponse;
use crate::proxy::buffered_response::BufferedResponse;
use crate::proxy::request::ProxyRequest;
use crate::response::RouterBody;
use http::{HeaderValue, Response, StatusCode};
use router_core::{Outcome, RequestFeatures};
use router_telemetry::{Leg, RetryReason};
use router_upstream::{Availability, Candidate};
use std::sync::Arc;
use tokio::time::Instant;

/// One leg's side of a request.
#[derive(Debug)]
pub(super) struct LegState<'a> {
    pub(super) request: ProxyRequest<'a>,
    /// Workers that must not have the request again.
    pub(super) excluded: ExcludedWorkers,
    /// Which worker had it last.
    pub(super) last: Option<Arc<Candidate>>,
    /// The request has an id of its own, which no worker may see twice, not even one that recovered.
    pub(super) has_own_id: bool,
}

impl LegState<'_> {
    /// Waits until a worker can be chosen, for as long as that may help and no longer than `until`.
    pub(super) async fn wait(
        &mut self,
        features: &RequestFeatures<'_>,
        until: Instant,
        last: Option<RetryReason>,
    ) {
        let pool = self.request.pool;
        if self.has_worker(features) || !pool.may_become_available(features, last) {
            return;
        }
        if !self.has_own_id {
            self.excluded.clear();
        }
        let this = &*self;
        this.request
            .dispatcher(ClientRid::Absent)
            .wait_until_available(until, || this.has_worker(features).then_some(()))
            .await;
    }

    /// Whether a worker can be chosen, now or when it has room.
    fn has_worker(&self, features: &RequestFeatures<'_>) -> bool {
        self.request.pool.availability(features, self.excluded.ids()) == Availability::AtCapacity
    }
}

/// A leg that failed.
#[derive(Debug)]
pub(super) struct LegFailure {
    pub(super) leg: Leg,
    pub(super) error: ProxyError,
    /// The worker, if one was found.
    pub(super) candidate: Option<Arc<Candidate>>,
    /// What the worker responded, if it did.
    pub(super) response: Option<Box<BufferedResponse>>,
}

impl LegFailure {
    /// A leg that failed without a response.
    pub(super) const fn new(leg: Leg, error: ProxyError, candidate: Option<Arc<Candidate>>) -> Self {
        Self { leg, error, candidate, response: None }
    }
}

/// Why the decode leg has no response for the client yet.
#[derive(Debug)]
pub(super) enum DecodeError {
    /// There is no response.
    Failed(ProxyError),
    /// The response says that the worker failed or has no room.
    Rejected(Box<UpstreamResponse>, RetryReason),
}

impl From<ProxyError> for DecodeError {
    fn from(error: ProxyError) -> Self {
        Self::Failed(error)
    }
}

/// How one attempt at both legs ended.
pub(super) type LegResult = Result<Response<RouterBody>, LegFailure>;

/// Ends a prefill leg that is no longer waited for.
pub(super) fn abandon_prefill(prefill: PrefillTask, error: ProxyError) -> LegFailure {
    let candidate = Arc::clone(&prefill.candidate);
    prefill.abandon(&error);
    LegFailure::new(Leg::Prefill, error, Some(candidate))
}

/// What the end of a failed prefill leg means for the request.
pub(super) fn prefill_failure(error: PrefillError, candidate: &Arc<Candidate>) -> LegResult {
    match error {
        PrefillError::Rejected(response) => Ok(*response),
        PrefillError::Failed { error, response } => {
            let failure = LegFailure::new(Leg::Prefill, error, Some(Arc::clone(candidate)));
            Err(LegFailure { response, ..failure })
        }
    }
}

/// Ends the decode leg with what went wrong on it.
pub(super) async fn decode_failure(mut lease: Lease, error: DecodeError) -> LegFailure {
    let candidate = Arc::clone(&lease.candidate);
    let (error, rejected) = match error {
        DecodeError::Failed(error) => (error, None),
        DecodeError::Rejected(response, reason) => {
            (ProxyError::Status(rejection_status(response.parts.status, reason)), Some((response, reason)))
        }
    };
    lease.set_error(error.code());
    let response = match rejected {
        Some((response, reason)) => {
            lease.finish_rejected(response.parts.status, response.outcome);
            BufferedResponse::read(*response, &candidate, reason).await.map(Box::new)
        }
        None => {
            if matches!(
                error,
                ProxyError::Timeout(_) | ProxyError::NoFirstByte(_) | ProxyError::WorkerUnhealthy
            ) {
                lease.abort(Outcome::Failed);
            }
            lease.finish_as(error.outcome());
            None
        }
    };
    LegFailure { response, ..LegFailure::new(Leg::Decode, error, Some(candidate)) }
}

/// The status of a rejection. A worker may reject a request inside a 200.
fn rejection_status(status: StatusCode, reason: RetryReason) -> StatusCode {
    match reason {
        _ if !status.is_success() => status,
        RetryReason::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Names the prefill worker beside the one that decoded.
pub(super) fn with_prefill_worker(
    mut response: Response<RouterBody>,
    prefill: HeaderValue,
) -> Response<RouterBody> {
    response.headers_mut().insert(PREFILL_WORKER, prefill);
    response
}
