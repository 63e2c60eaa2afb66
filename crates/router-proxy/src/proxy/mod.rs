//! A client's request on its way to a worker and back: authorised, admitted, read, dispatched, retried, relayed.

mod affinity;
mod attempt;
mod disaggregation;
mod dispatch;
mod request;
mod request_body;
mod retry;

use crate::admin;
use crate::error::ProxyError;
use crate::headers::REQUEST_ID;
use crate::response::{RouterBody, error_response};
use crate::security::{ListenerKind, Peer, RequiredRole};
use crate::state::AppState;
use crate::timer::DeadlineTimer;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use request::{ProxyRequest, RequestOrigin};
use retry::BufferedResponse;
use router_telemetry::ErrorResponseRecord;
use std::sync::Arc;

/// Why the router responds with an error of its own.
#[derive(Debug)]
struct Rejection {
    error: ProxyError,
    /// The best response of the workers that were tried, which the client gets in place of the router's own.
    fallback: Option<BufferedResponse>,
    /// A part of the request's body may still be on its way.
    is_body_unread: bool,
}

impl Rejection {
    const fn unread(error: ProxyError) -> Self {
        Self { error, fallback: None, is_body_unread: true }
    }
}

impl From<ProxyError> for Rejection {
    fn from(error: ProxyError) -> Self {
        Self { error, fallback: None, is_body_unread: false }
    }
}

/// Responds to one request. It never fails: what goes wrong becomes an error response.
pub(crate) async fn handle_request(
    state: Arc<AppState>,
    peer: Peer,
    timer: DeadlineTimer,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let Some(cors) = &state.cors else { return authorize_and_route(&state, peer, timer, request).await };
    let allowed = cors.allowed(request.headers());
    let mut response = match cors.preflight(&request) {
        Some(response) => response.map(RouterBody::full),
        None => authorize_and_route(&state, peer, timer, request).await,
    };
    cors.set_headers(allowed, response.headers_mut());
    response
}

/// Checks the key, and hands the request to the admin routes or to a worker.
async fn authorize_and_route(
    state: &Arc<AppState>,
    peer: Peer,
    timer: DeadlineTimer,
    mut request: Request<Incoming>,
) -> Response<RouterBody> {
    let received_at = state.clock.now();
    let endpoint = admin::Endpoint::of(request.method(), request.uri().path());
    let required = endpoint.map_or(RequiredRole::User, admin::Endpoint::required_role);
    let admitted = state.authenticator.authorize(peer, required, request.headers_mut());
    let admitted = match (admitted, endpoint) {
        (Ok(()), Some(endpoint)) => return Box::pin(admin::answer(state, endpoint, request)).await,
        (Ok(()), None) if peer.listener == ListenerKind::Admin => {
            Err(ProxyError::NotServed("it has the admin routes"))
        }
        (Ok(()), None) if matches!(*request.method(), Method::CONNECT | Method::TRACE) => {
            Err(ProxyError::Method)
        }
        (admitted, _) => admitted,
    };
    let (mut parts, body) = request.into_parts();
    let route = router_protocol::route_of(parts.uri.path());
    let origin = RequestOrigin {
        route,
        request_id: state.ids.of(&parts.headers, &state.limits.id_headers, route),
        trace: state.trace_ids.as_ref().and_then(|ids| ids.start_request(&mut parts.headers)),
        received_at,
        timer,
    };
    let result = match admitted.and_then(|()| state.admission.reject_if_full()) {
        Ok(()) => proxy(state, parts, body, &origin).await,
        Err(error) => {
            let is_body_unread = !body.is_end_stream();
            request_body::lingering_close(body);
            Err(Rejection { is_body_unread, ..error.into() })
        }
    };
    let mut response = result.unwrap_or_else(|rejection| reject(state, &origin, rejection));
    state.telemetry.response_started(route, state.clock.now().since(received_at));
    response.headers_mut().insert(REQUEST_ID, origin.request_id);
    response
}

/// Reads the body, waits to be admitted, and sends the request to a worker.
async fn proxy(
    state: &Arc<AppState>,
    parts: Parts,
    body: Incoming,
    origin: &RequestOrigin,
) -> Result<Response<RouterBody>, Rejection> {
    // The body first: a client that sends slowly must not hold a permit that others wait for.
    let body = request_body::read(state, body).await.map_err(Rejection::unread)?;
    let permit = state.admission.acquire().await?;
    let response = ProxyRequest::new(state, parts, body, origin).send().await?;
    Ok(response.map(|body| body.holding(permit)))
}

/// The response to a request that failed, and the record of it.
fn reject(state: &AppState, origin: &RequestOrigin, rejection: Rejection) -> Response<RouterBody> {
    let Rejection { error, fallback, is_body_unread } = rejection;
    log_failure(&error, &origin.request_id);
    state.telemetry.error_response(ErrorResponseRecord {
        request_id: origin.request_id.clone(),
        trace: origin.trace,
        route: origin.route,
        received_at: origin.received_at,
        at: state.clock.now(),
        status: error.status(),
        error: error.code(),
        message: error.to_string(),
    });
    let mut response = fallback.map_or_else(|| error_response(&error), BufferedResponse::into_response);
    if is_body_unread {
        // What is still on its way is no request, so the connection cannot serve another one.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The client is told the kind of an error; its cause is for the operator.
fn log_failure(error: &ProxyError, request_id: &HeaderValue) {
    let cause = std::error::Error::source(error).map(router_upstream::root_cause);
    tracing::debug!(?request_id, code = error.code(), cause, "request failed: {error}");
}
