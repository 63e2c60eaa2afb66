//! One request's way through: let in, read, decide, forward, stream back.

mod admission;
mod affinity;
mod attempt;
mod body;
mod budget;
mod disaggregation;
mod forward;
mod hedge;
mod journey;
mod kept;
mod relay;
mod request_id;
mod tried;

pub(crate) use admission::{Admission, Vacancy};
pub(crate) use body::RouterBody;
pub(crate) use budget::Budget;
pub(crate) use disaggregation::Disaggregation;
pub(crate) use hedge::Hedging;
pub(crate) use kept::Kept;
pub(crate) use request_id::RequestIds;

use crate::admin;
use crate::alarm::Alarm;
use crate::error::ProxyError;
use crate::router::Shared;
use crate::security::{ListenerKind, Peer, RequiredRole};
use forward::Exchange;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use router_core::{Route, Time};
use router_telemetry::{ErrorResponseRecord, TraceContext};
use std::sync::Arc;

/// The header that carries the request id, to the worker and back to the client.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The header that names the worker that answered.
pub(crate) const WORKER: HeaderName = HeaderName::from_static("x-sglang-worker");

/// Answers one request. It never fails: what goes wrong becomes an error answer.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    (peer, alarm): (Peer, Alarm),
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let Some(cors) = &shared.cors else { return meet(&shared, (peer, alarm), request).await };
    let allowed = cors.allowed(request.headers());
    let mut response = match cors.preflight(&request) {
        Some(response) => response,
        None => meet(&shared, (peer, alarm), request).await,
    };
    cors.set_headers(allowed, response.headers_mut());
    response
}

/// Asks for the key, and leads to the router's own answers or to a worker.
async fn meet(
    shared: &Arc<Shared>,
    (peer, alarm): (Peer, Alarm),
    mut request: Request<Incoming>,
) -> Response<RouterBody> {
    let received_at = shared.clock.now();
    let endpoint = admin::Endpoint::of(request.method(), request.uri().path());
    let required = endpoint.map_or(RequiredRole::User, admin::Endpoint::required_role);
    let admitted = shared.authenticator.authorize(peer, required, request.headers_mut());
    let admitted = match (admitted, endpoint) {
        (Ok(()), Some(endpoint)) => return Box::pin(admin::answer(shared, endpoint, request)).await,
        (Ok(()), None) if peer.listener == ListenerKind::Admin => {
            Err(ProxyError::NotHere("it has the admin routes"))
        }
        // Tunnels and echoes of what was sent are no business of a reverse proxy.
        (Ok(()), None) if matches!(*request.method(), Method::CONNECT | Method::TRACE) => {
            Err(ProxyError::Method)
        }
        (admitted, _) => admitted,
    };
    let (mut parts, body) = request.into_parts();
    let route = router_protocol::route_of(parts.uri.path());
    let call = Call {
        route,
        request_id: shared.ids.of(&parts.headers, &shared.limits.id_headers, route),
        trace: shared.trace_ids.as_ref().and_then(|ids| ids.start_request(&mut parts.headers)),
        received_at,
        alarm,
    };
    let result = match admitted.and_then(|()| shared.admission.glance()) {
        Ok(()) => forward(shared, parts, body, &call).await,
        Err(error) => {
            let ended = body.is_end_stream();
            body::linger(body);
            Err((error, if ended { Rest::None } else { Rest::Unread }))
        }
    };
    let mut response = result.unwrap_or_else(|(error, rest)| call.refuse(shared, &error, rest));
    shared.records.response_started(route, shared.clock.now().since(received_at));
    response.headers_mut().insert(REQUEST_ID, call.request_id);
    response
}

/// Whether a part of the request's body may still be on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    None,
    Unread,
}

/// Reads the body, waits for a turn, and sends the request to a worker.
async fn forward(
    shared: &Arc<Shared>,
    parts: Parts,
    body: Incoming,
    call: &Call,
) -> Result<Response<RouterBody>, (ProxyError, Rest)> {
    // The body first: a client that sends slowly must not keep others from their turn.
    let body = body::read(shared, body).await.map_err(|error| (error, Rest::Unread))?;
    let served = async {
        let permit = shared.admission.enter().await?;
        let exchange = Exchange::new(shared, parts, body, call);
        let response = exchange.run().await?;
        Ok(response.map(|body| body.holding(permit)))
    };
    served.await.map_err(|error| (error, Rest::None))
}

/// What is known of a request before it is read.
#[derive(Debug)]
struct Call {
    route: Route,
    request_id: HeaderValue,
    trace: Option<TraceContext>,
    received_at: Time,
    alarm: Alarm,
}

impl Call {
    /// The answer to a request that failed, and the record of it.
    fn refuse(&self, shared: &Shared, error: &ProxyError, rest: Rest) -> Response<RouterBody> {
        log_failure(error, &self.request_id);
        shared.records.error_response(ErrorResponseRecord {
            request_id: self.request_id.clone(),
            trace: self.trace,
            route: self.route,
            received_at: self.received_at,
            at: shared.clock.now(),
            status: error.status(),
            error: error.code(),
            message: error.to_string(),
        });
        let mut response = error.response();
        if rest == Rest::Unread {
            // What is still on its way is no request; the connection cannot serve another one.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// The client is told the kind of an error; its cause is for the operator.
fn log_failure(error: &ProxyError, request_id: &HeaderValue) {
    let cause = std::error::Error::source(error).map(crate::workers::root_cause);
    tracing::debug!(?request_id, code = error.code(), cause, "request failed: {error}");
}
