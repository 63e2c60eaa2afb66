//! Requests that ask for a WebSocket, and the tunnel that a worker agrees to.

use super::attempt::UpstreamResponse;
use super::request::ProxyRequest;
use crate::headers::WORKER;
use crate::lease::Lease;
use crate::response::{RouterBody, Tunnel, TunnelSlot};
use crate::security::Cors;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

/// The only protocol that is tunnelled.
pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Lets a request that asks for a WebSocket leave its tunnel in `slot`. Any other upgrade is ignored, as RFC 9110 allows:
/// the request is served as if it did not ask.
pub(crate) fn prepare(request: &mut Request<Incoming>, slot: &TunnelSlot) {
    // hyper has found an upgrade header; other requests have no extensions at all.
    if request.extensions_mut().remove::<OnUpgrade>().is_some() && asks_for_websocket(request) {
        request.extensions_mut().insert(slot.clone());
    }
}

/// Whether the head is that of a WebSocket handshake (RFC 6455, section 4.2.1), as far as the router has to know. The rest is
/// for the worker to judge.
fn asks_for_websocket<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let protocol = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    let mut connection =
        headers.get_all(header::CONNECTION).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
        && connection.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// Whether a request asks for a WebSocket on behalf of a web page of another site, which these origins do not include.
/// Browsers let every page open a WebSocket to any host, without asking that host first, and read what it says.
pub(super) fn is_of_other_site(cors: Option<&Cors>, request: &Request<Incoming>) -> bool {
    if request.extensions().get::<TunnelSlot>().is_none() {
        return false;
    }
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let own =
        origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host.as_bytes());
    let is_own = own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host));
    !is_own && cors.and_then(|cors| cors.allowed(headers)).is_none()
}

/// Where the request leaves its tunnel, if it asks for one.
pub(super) fn slot(parts: &mut Parts) -> Option<TunnelSlot> {
    parts.extensions.remove::<TunnelSlot>()
}

impl ProxyRequest<'_> {
    /// Opens the tunnel that the worker has agreed to. The client's connection runs it once it has the response.
    pub(super) fn open_tunnel(
        &self,
        response: UpstreamResponse,
        lease: Lease,
        slot: &TunnelSlot,
    ) -> Response<RouterBody> {
        let UpstreamResponse { mut parts, connection, .. } = response;
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, WEBSOCKET);
        parts.headers.insert(WORKER, lease.candidate.header.clone());
        if let Some((worker, early)) = connection.into_stream() {
            slot.open(Tunnel::new(worker, early, lease, self.state.live().limits.stream_idle));
        }
        Response::from_parts(parts, RouterBody::full(Bytes::new()))
    }
}
