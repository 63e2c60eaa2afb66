//! One request's way through: read, decide, forward, stream back.

mod affinity;
mod attempt;
mod body;
mod budget;
mod forward;
mod headers;
mod hedge;
mod journey;
mod kept;
mod relay;
mod request_id;
mod trace_context;

pub use body::RouterBody;
pub(crate) use budget::Budget;
pub(crate) use headers::strip_hop_by_hop;
pub(crate) use hedge::Hedging;
pub use kept::Kept;
pub use relay::RelayError;
pub(crate) use request_id::RequestIds;
pub(crate) use trace_context::{TraceContext, TraceIds};

use crate::admin;
use crate::error::ProxyError;
use crate::record::RefusalRecord;
use crate::router::Shared;
use forward::Exchange;
use http::{HeaderName, Request, Response};
use hyper::body::Incoming;
use std::sync::Arc;

/// The header that carries the request id, to the worker and back to the client.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that names the worker that answered.
pub(crate) const WORKER: HeaderName = HeaderName::from_static("x-sglang-worker");

/// Answers one request. It never fails: what goes wrong becomes an error answer.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<RouterBody> {
    let received_at = shared.clock.now();
    if let Some(endpoint) = admin::Endpoint::of(request.method(), request.uri().path()) {
        return admin::answer(&shared, endpoint, request).await;
    }
    let (mut parts, body) = request.into_parts();
    let route = router_protocol::route_of(parts.uri.path());
    let request_id = shared.ids.of(&parts.headers, &shared.limits.id_headers, route);
    let trace = shared.trace_ids.as_ref().and_then(|ids| ids.enter(&mut parts.headers));
    let result = match body::read(body, shared.limits.max_body).await {
        Ok(body) => {
            let exchange = Exchange::new(&shared, parts, body, (route, request_id.clone(), received_at));
            exchange.traced(trace).run().await
        }
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(|error| {
        log_failure(&error, &request_id);
        shared.records.refused(RefusalRecord {
            request_id: request_id.clone(),
            trace,
            route,
            received_at,
            at: shared.clock.now(),
            status: error.status(),
            error: error.code(),
            message: error.to_string(),
        });
        error.response()
    });
    shared.records.answered(route, shared.clock.now().since(received_at));
    response.headers_mut().insert(REQUEST_ID, request_id);
    response
}

/// The client is told the kind of an error; its cause is for the operator.
fn log_failure(error: &ProxyError, request_id: &http::HeaderValue) {
    let cause = std::error::Error::source(error).map(crate::workers::root_cause);
    tracing::debug!(?request_id, code = error.code(), cause, "request failed: {error}");
}
