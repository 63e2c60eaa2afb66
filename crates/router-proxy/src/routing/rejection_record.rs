//! What is recorded of a request that the router refuses.

use crate::error::ProxyError;
use crate::state::AppState;
use http::HeaderValue;
use router_core::{Route, Time};
use router_telemetry::{ErrorResponseRecord, TraceContext};

/// A request that the router refuses.
#[derive(Debug)]
pub(crate) struct RejectedRequest<'a> {
    pub(crate) id: &'a HeaderValue,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) route: Route,
    pub(crate) received_at: Time,
}

/// Records a request that is refused because of `error`, and logs the cause for the operator. The client gets only the error
/// itself.
pub(crate) fn record_rejection(state: &AppState, request: &RejectedRequest<'_>, error: &ProxyError) {
    let cause = std::error::Error::source(error).map(router_upstream::root_cause);
    let request_id = request.id.to_str().unwrap_or_default();
    tracing::debug!(request_id, code = error.code(), cause, "request failed: {error}");
    state.main.telemetry.error_response(ErrorResponseRecord {
        request_id: request.id.into(),
        trace: request.trace,
        route: request.route,
        received_at: request.received_at,
        at: state.clock.now(),
        status: error.status(),
        error: error.code(),
        message: error.to_string(),
    });
}
