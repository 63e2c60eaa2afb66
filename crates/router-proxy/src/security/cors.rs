//! Which web pages may call the router from a browser (the Fetch standard's CORS protocol).

use crate::data_plane::RouterBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use router_config::AllowedOrigins;

/// A browser may remember a permission for this long, in seconds: as long as browsers do at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The headers of ours that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, x-sglang-worker, retry-after");

/// Every method that the router passes on.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Adds the headers of the protocol to responses.
#[derive(Clone, Debug)]
pub(crate) struct Cors(AllowedOrigins);

impl Cors {
    pub(crate) const fn new(origins: AllowedOrigins) -> Self {
        Self(origins)
    }

    /// The value of `access-control-allow-origin` for a request, if its page may read the answer.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let asks = headers.get(header::ORIGIN)?;
        match &self.0 {
            AllowedOrigins::Any => Some(HeaderValue::from_static("*")),
            AllowedOrigins::List(origins) => origins.contains(asks).then(|| asks.clone()),
        }
    }

    /// The answer to a browser that asks before it sends the request itself; it carries no key yet.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<RouterBody>> {
        let headers = request.headers();
        let asks = *request.method() == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut response = Response::new(RouterBody::full(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let reply = response.headers_mut();
        if self.allowed(headers).is_some() {
            reply.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                reply.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
            }
            reply.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        for name in [header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS] {
            reply.append(header::VARY, name.into());
        }
        Some(response)
    }

    /// Tells the browser whether its page may read the answer. What a worker said about it is replaced.
    pub(crate) fn mark(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if matches!(self.0, AllowedOrigins::List(_)) {
            headers.append(header::VARY, header::ORIGIN.into());
        }
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}
