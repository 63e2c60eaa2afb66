//! A client's request on its way to a worker and back: authorised, admitted, read, dispatched, retried, relayed.

mod access_entry;
mod attempt;
mod buffered_response;
mod disaggregation;
mod rejection;
mod request;
mod retry;
mod websocket;

pub(crate) use websocket::prepare as prepare_upgrade;

use crate::admin;
use crate::dispatch::elsewhere;
use crate::error::ProxyError;
use crate::headers::{REQUEST_ID, WORKER};
use crate::large_body::is_large;
use crate::lease::ClientRid;
use crate::models::Resolved;
use crate::request_body;
use crate::response::{RouterBody, TunnelSlot, error_response};
use crate::routing::{
    RejectedRequest, RequestHead, record_rejection, request_features, resolve_model, wait_for_batch,
};
use crate::security::{Cors, ForwardedLines, ListenerKind, Peer, RequiredRole};
use crate::state::AppState;
use crate::timer::DeadlineTimer;
use bytes::Bytes;
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
    let admin = endpoint.map_or(Ok(()), |of| check_admin(state, peer, of, &request));
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
    let name = state.ids.of(&parts.headers, &state.live().limits.id_headers, route);
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
    if result.as_ref().is_err_and(|rejection| rejection.error.is_lack_of_workers()) {
        state.refused();
    }
    let mut response = result.unwrap_or_else(|rejection| reject(state, &origin, rejection));
    let took = state.clock.now().since(received_at);
    state.main.telemetry.response_started(route, response.status().as_u16(), took);
    response.headers_mut().insert(REQUEST_ID, origin.name.id().clone());
    name_worker(&state.live().limits.worker_headers, response.headers_mut());
    response
}

/// Names the worker of a response in further headers.
fn name_worker(names: &[HeaderName], headers: &mut HeaderMap) {
    let Some(worker) = headers.get(WORKER).filter(|_| !names.is_empty()).cloned() else { return };
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
    // Boxed, so that a request whose body is waited for does not hold the room of all that comes after it.
    let (response, tunnel) = Box::pin(send(state, parts, body, origin)).await?;
    match tunnel {
        Some(slot) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            slot.hold(permit);
            Ok(response)
        }
        _ => Ok(response.map(|body| body.holding(permit))),
    }
}

/// Scans the body for what policies need, and sends the request to a worker. Returns where the request left its tunnel, if it asked
/// for one.
async fn send(
    state: &Arc<AppState>,
    parts: Parts,
    body: Bytes,
    origin: &RequestOrigin,
) -> Result<(Response<RouterBody>, Option<TunnelSlot>), Rejection> {
    let route = origin.route;
    if is_large(&body) {
        let whole = body.clone();
        let scanned = Box::pin(state.large_bodies.run(move || OwnedFacts::scan(route, &whole))).await;
        return Box::pin(send_scanned(state, parts, body, origin, &scanned.facts())).await;
    }
    // The facts borrow from the body, which the request owns.
    let scanned = body.clone();
    send_scanned(state, parts, body, origin, &router_protocol::scan(route, &scanned)).await
}

/// Finds the workers of the request's model, and makes attempts until one succeeds or none is left.
async fn send_scanned(
    state: &Arc<AppState>,
    parts: Parts,
    body: Bytes,
    origin: &RequestOrigin,
    facts: &RequestFacts<'_>,
) -> Result<(Response<RouterBody>, Option<TunnelSlot>), Rejection> {
    let head = RequestHead { uri: &parts.uri, headers: &parts.headers, route: origin.route };
    let resolved = resolve_model(state, head, &body, facts).await?;
    let mut request = ProxyRequest::new(state, &resolved.group, parts, body, origin);
    if let Some(model) = &resolved.rename {
        request.rename_model(model).await;
    }
    let response = attempt_all(&request, &resolved, facts).await?;
    Ok((response, request.tunnel.take()))
}

/// Makes attempts until one succeeds or none is left.
async fn attempt_all(
    request: &ProxyRequest<'_>,
    resolved: &Resolved,
    facts: &RequestFacts<'_>,
) -> Result<Response<RouterBody>, Rejection> {
    let (state, route) = (request.state, request.origin.route);
    let mut prefix = Vec::new();
    let received_at = request.origin.received_at;
    let mut features = request_features(state, route, &request.headers, facts, received_at, &mut prefix);
    // A WebSocket delivers what it has at once, as a stream does; and no copy of it is sent to a second worker.
    features.stream |= request.tunnel.is_some();
    let rid = ClientRid::of(facts);
    if let Some(split) = request.group.disaggregation.as_ref().filter(|_| is_split(request)) {
        let run = async { SplitRequest::new(request, split, resolved, facts, rid).await.run(features).await };
        return Box::pin(run).await;
    }
    wait_for_batch(state, request.pool, route).await;
    let mut excluded = elsewhere(request.pool, route, request.path.path(), facts);
    excluded.add_unfit(&request.without_call());
    excluded.add_unfit(&resolved.unfit(request.pool));
    let response = RetryLoop::new(request, features, rid, excluded).run().await?;
    remember_conversation(request, facts, &response);
    Ok(response)
}

/// Remembers which worker serves the conversation of a request, by the name of the worker in its response.
fn remember_conversation(
    request: &ProxyRequest<'_>,
    facts: &RequestFacts<'_>,
    response: &Response<RouterBody>,
) {
    if let Some(conversation) = &facts.conversation
        && request.origin.route == Route::Responses
        && response.status().is_success()
        && let Some(name) = response.headers().get(WORKER)
        && let Some(candidate) = request.pool.candidates.all().into_iter().find(|c| c.header == *name)
    {
        request.pool.stored.insert(conversation, &candidate.worker);
    }
}

/// The response to a request that failed, and the record of it.
fn reject(state: &AppState, origin: &RequestOrigin, rejection: Rejection) -> Response<RouterBody> {
    let Rejection { error, fallback, is_body_unread } = rejection;
    if let Some(notes) = &origin.notes {
        notes.rejected(error.code());
    }
    let RequestOrigin { name, trace, route, received_at, .. } = origin;
    let rejected = RejectedRequest { id: name.id(), trace: *trace, route: *route, received_at: *received_at };
    record_rejection(state, &rejected, &error);
    let mut response =
        fallback.map_or_else(|| error_response(&error, origin.route), |fallback| fallback.into_response());
    if is_body_unread {
        // The unread rest of the body would be parsed as the next request, so the connection must close.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
