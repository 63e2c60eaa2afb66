//! A client's request on its way to a worker and back: authorised, admitted, read, dispatched, retried, relayed.

mod access_entry;
mod affinity;
mod attempt;
mod batch_window;
mod buffered_response;
mod disaggregation;
mod dispatch;
mod rejection;
mod request;
mod retry;
mod retry_after;
mod stored_object;
mod websocket;

pub(crate) use websocket::prepare as prepare_upgrade;

use crate::admin;
use crate::error::ProxyError;
use crate::headers::{REQUEST_ID, WORKER};
use crate::large_body::is_large;
use crate::lease::ClientRid;
use crate::request_body;
use crate::response::{RouterBody, TunnelSlot, error_response};
use crate::security::{Cors, ForwardedLines, ListenerKind, Peer, RequiredRole};
use crate::state::AppState;
use crate::timer::DeadlineTimer;
use disaggregation::{SplitRequest, is_split};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use rejection::Rejection;
use request::{ProxyRequest, RequestOrigin};
use retry::RetryLoop;
use router_core::Route;
use router_protocol::{OwnedFacts, RequestFacts};
use router_telemetry::ErrorResponseRecord;
use std::sync::Arc;

/// Responds to one request. It never fails: what goes wrong becomes an error response.
pub(crate) async fn handle_request(
    state: Arc<AppState>,
    peer: Peer,
    timer: DeadlineTimer,
    mut request: Request<Incoming>,
) -> Response<RouterBody> {
    let entry = access_entry::begin(&state, peer, &mut request);
    let slot = entry.as_ref().and_then(|_| request.extensions().get::<TunnelSlot>().cloned());
    let response = respond(&state, peer, timer, request).await;
    match entry {
        Some(entry) => access_entry::end_with(entry, response, slot),
        None => response,
    }
}

/// Responds to one request, with the headers that let web pages read the response.
async fn respond(
    state: &Arc<AppState>,
    peer: Peer,
    timer: DeadlineTimer,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let Some(cors) = &state.cors else { return authorize_and_route(state, peer, timer, request).await };
    let allowed = cors.allowed(request.headers());
    let mut response = match cors.preflight(&request) {
        Some(response) => response.map(RouterBody::full),
        None => authorize_and_route(state, peer, timer, request).await,
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
    let admin = endpoint.map_or(Ok(()), |endpoint| check_admin(state, peer, endpoint, &request));
    let required = endpoint.map_or(RequiredRole::User, admin::Endpoint::required_role);
    let admitted =
        state.authenticator.authorize(peer, required, &mut request).and_then(|()| match endpoint {
            Some(endpoint)
                if endpoint.is_guarded() && Cors::is_other_site(state.cors.as_ref(), request.headers()) =>
            {
                Err(ProxyError::OtherSite)
            }
            None if websocket::is_of_other_site(state.cors.as_ref(), &request) => Err(ProxyError::OtherSite),
            _ => Ok(()),
        });
    let admitted = match (admitted, endpoint) {
        (Ok(()), Some(endpoint)) => return Box::pin(admin::answer(state, endpoint, admin, request)).await,
        (Ok(()), None) if peer.listener == ListenerKind::Admin => {
            Err(ProxyError::NotServed("it has the admin routes"))
        }
        (Ok(()), None) if matches!(*request.method(), Method::CONNECT | Method::TRACE) => {
            Err(ProxyError::Method)
        }
        (admitted, _) => admitted,
    };
    let (mut parts, body) = request.into_parts();
    let route = Route::of_path(parts.uri.path());
    let name = state.ids.of(&parts.headers, &state.limits.id_headers, route);
    let forwarded = match &state.forwarding {
        Some(forwarding) => {
            forwarding.lines(&state.trusted_proxies, peer.address, parts.uri.authority(), &mut parts.headers)
        }
        None => ForwardedLines::new(),
    };
    let origin = RequestOrigin {
        route,
        notes: access_entry::notes(&parts.extensions, name.id()),
        forwarded,
        name,
        trace: state.trace_ids.as_ref().and_then(|ids| ids.start_request(&mut parts.headers)),
        received_at,
        timer,
    };
    let result = match admitted.and_then(|()| state.admission.reject_if_full()) {
        Ok(()) => proxy(state, parts, body, &origin).await,
        Err(error) => {
            let is_body_unread = !body.is_end_stream();
            request_body::lingering_close(body, parts.version);
            Err(Rejection { is_body_unread, ..error.into() })
        }
    };
    let mut response = result.unwrap_or_else(|rejection| reject(state, &origin, rejection));
    let took = state.clock.now().since(received_at);
    state.pool.telemetry.response_started(route, response.status().as_u16(), took);
    response.headers_mut().insert(REQUEST_ID, origin.name.id().clone());
    if !state.limits.worker_headers.is_empty() {
        name_worker(&state.limits.worker_headers, response.headers_mut());
    }
    response
}

/// Names the worker of a response in further headers.
fn name_worker(names: &[HeaderName], headers: &mut HeaderMap) {
    let Some(worker) = headers.get(WORKER).cloned() else { return };
    for name in names {
        headers.insert(name.clone(), worker.clone());
    }
}

/// Whether a request may do what only an admin may, where that depends on its body.
fn check_admin(
    state: &AppState,
    peer: Peer,
    endpoint: admin::Endpoint,
    request: &Request<Incoming>,
) -> Result<(), ProxyError> {
    match endpoint {
        admin::Endpoint::Abort => state.authenticator.check_admin(peer, request),
        _ => Ok(()),
    }
}

/// Reads the body, waits to be admitted, and sends the request to a worker.
async fn proxy(
    state: &Arc<AppState>,
    parts: Parts,
    body: Incoming,
    origin: &RequestOrigin,
) -> Result<Response<RouterBody>, Rejection> {
    // The body first: a client that sends slowly must not hold a permit that others wait for.
    let body = request_body::read(state, body, parts.version).await.map_err(Rejection::unread)?;
    let permit = state.admission.acquire().await?;
    let request = ProxyRequest::new(state, parts, body, origin);
    // Boxed, so that a request whose body is waited for does not hold the room of all that comes after it.
    let response = Box::pin(send(&request)).await?;
    match &request.tunnel {
        Some(slot) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            slot.hold(permit);
            Ok(response)
        }
        _ => Ok(response.map(|body| body.holding(permit))),
    }
}

/// Scans the body for what policies need, and sends the request to a worker.
async fn send(request: &ProxyRequest<'_>) -> Result<Response<RouterBody>, Rejection> {
    let (state, route, body) = (request.state, request.origin.route, &request.body);
    if is_large(body) {
        let body = body.clone();
        let scanned = Box::pin(state.large_bodies.run(move || OwnedFacts::scan(route, &body))).await;
        return Box::pin(send_scanned(request, &scanned.facts())).await;
    }
    send_scanned(request, &router_protocol::scan(route, body)).await
}

/// Makes attempts until one succeeds or none is left.
async fn send_scanned(
    request: &ProxyRequest<'_>,
    facts: &RequestFacts<'_>,
) -> Result<Response<RouterBody>, Rejection> {
    let (state, route) = (request.state, request.origin.route);
    let mut prefix = Vec::new();
    if state.needs.prefix_hashes {
        facts.prefix_hashes(&mut prefix);
    }
    let mut features = facts.features(state.ids.number(), route, &prefix);
    if state.needs.text {
        features.text = facts.text();
    }
    if state.needs.script {
        features.script = facts.script();
    }
    if state.needs.forecast {
        features.model = facts.model_key();
    }
    affinity::add(&mut features, state.needs, &state.limits.key_sources, &request.headers, facts);
    features.arrived_at = Some(request.origin.received_at);
    // A WebSocket delivers what it has at once, as a stream does; and no copy of it is sent to a second worker.
    features.stream |= request.tunnel.is_some();
    let rid = match facts.rid.as_deref() {
        None => ClientRid::Absent,
        Some(rid) if facts.batch == 1 => ClientRid::Single(rid),
        Some(_) => ClientRid::Batch,
    };
    if let Some(split) = state.disaggregation.as_ref().filter(|_| is_split(request)) {
        let run = async { SplitRequest::new(request, split, facts, rid).await.run(features).await };
        return Box::pin(run).await;
    }
    batch_window::wait(state, route).await;
    let mut excluded = stored_object::elsewhere(request, facts);
    excluded.add_unfit(&request.without_call());
    let response = RetryLoop::new(request, features, rid, excluded).run().await?;
    stored_object::remember_conversation(request, facts, &response);
    Ok(response)
}

/// The response to a request that failed, and the record of it.
fn reject(state: &AppState, origin: &RequestOrigin, rejection: Rejection) -> Response<RouterBody> {
    if rejection.error.is_lack_of_workers() {
        state.refused();
    }
    let Rejection { error, fallback, is_body_unread } = rejection;
    log_failure(&error, origin.name.id());
    if let Some(notes) = &origin.notes {
        notes.rejected(error.code());
    }
    state.pool.telemetry.error_response(ErrorResponseRecord {
        request_id: origin.name.id().into(),
        trace: origin.trace,
        route: origin.route,
        received_at: origin.received_at,
        at: state.clock.now(),
        status: error.status(),
        error: error.code(),
        message: error.to_string(),
    });
    let mut response =
        fallback.map_or_else(|| error_response(&error, origin.route), |fallback| fallback.into_response());
    if is_body_unread {
        // The unread rest of the body would be parsed as the next request, so the connection must close.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Logs the cause of an error for the operator. The client gets only the error itself.
fn log_failure(error: &ProxyError, request_id: &HeaderValue) {
    let cause = std::error::Error::source(error).map(router_upstream::root_cause);
    let request_id = request_id.to_str().unwrap_or_default();
    tracing::debug!(request_id, code = error.code(), cause, "request failed: {error}");
}
