//! The line of a request in the access log, from the request's arrival to the end of its response.

use crate::admin::Endpoint;
use crate::response::{RouterBody, TunnelSlot};
use crate::security::{Peer, RequiredRole};
use crate::state::AppState;
use http::{Extensions, HeaderValue, Request, Response, StatusCode};
use router_telemetry::{AccessEntry, AccessRequest, AttemptNotes};
use std::sync::Arc;

/// Begins the line of a request, if it gets one. Probes and scrapes of metrics get none: they would be most of the log.
pub(super) fn begin<B>(state: &AppState, peer: Peer, request: &mut Request<B>) -> Option<Box<AccessEntry>> {
    let log = state.access_log.as_ref()?;
    let path = request.uri().path();
    let endpoint = Endpoint::of(request.method(), path);
    let is_watch = endpoint.is_some_and(|endpoint| {
        endpoint == Endpoint::Metrics || endpoint.required_role() == RequiredRole::Anyone
    });
    if is_watch || !log.is_sampled() {
        return None;
    }
    let entry = log.begin(AccessRequest {
        client: state.trusted_proxies.client(peer.address, request.headers()),
        method: request.method().clone(),
        path: path.into(),
        version: request.version(),
        received_at: state.clock.now(),
    });
    request.extensions_mut().insert(Arc::clone(entry.notes()));
    Some(Box::new(entry))
}

/// Where the attempts of a request with these extensions leave what its line says; absent where it gets none.
pub(super) fn notes(extensions: &Extensions, id: &HeaderValue) -> Option<Arc<AttemptNotes>> {
    let notes = extensions.get::<Arc<AttemptNotes>>()?;
    notes.named(id);
    Some(Arc::clone(notes))
}

/// The response, with whose body the line ends, or with the tunnel in `slot` that follows it.
pub(super) fn end_with(
    mut entry: Box<AccessEntry>,
    response: Response<RouterBody>,
    slot: Option<TunnelSlot>,
) -> Response<RouterBody> {
    entry.responded(response.status());
    match slot {
        Some(slot) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            slot.log(entry);
            response
        }
        _ => response.map(|body| body.logged(entry)),
    }
}
