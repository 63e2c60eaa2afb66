//! CORS: which web pages may call the router from a browser.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use router_config::AllowedOrigins;

/// How long a browser may cache a preflight response, in seconds: the maximum that browsers allow.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Response headers of the router that a page may read, besides the configured ones that name the worker.
const EXPOSED: &str = "x-request-id, x-sglang-worker, retry-after";

/// The header by which browsers say how the site of the page relates to that of the request.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Methods that the router forwards.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Adds CORS headers to responses.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: AllowedOrigins,
    /// Response headers of the router that a page may read.
    exposed: HeaderValue,
}

impl Cors {
    /// Lets pages of `origins` read responses, and in them `worker_headers` besides the router's usual headers.
    pub(crate) fn new(origins: AllowedOrigins, worker_headers: &[HeaderName]) -> Self {
        let more = worker_headers.iter().map(|name| format!(", {name}"));
        let exposed = HeaderValue::try_from(EXPOSED.to_owned() + &more.collect::<String>());
        Self { origins, exposed: exposed.unwrap_or(HeaderValue::from_static(EXPOSED)) }
    }

    /// The value of `access-control-allow-origin` for a request, if its page may read the response.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        match &self.origins {
            AllowedOrigins::Any => Some(HeaderValue::from_static("*")),
            AllowedOrigins::List(origins) => origins.contains(origin).then(|| origin.clone()),
        }
    }

    /// Whether a web page of another site, which these origins do not include, sent the request, says the browser. A page can
    /// send some requests without asking first; it sees no response, but what the request does is done.
    pub(crate) fn is_other_site(cors: Option<&Self>, headers: &HeaderMap) -> bool {
        let site = headers.get(FETCH_SITE).map(HeaderValue::as_bytes);
        let is_other = site.is_some_and(|site| site != b"same-origin" && site != b"none");
        is_other && cors.and_then(|cors| cors.allowed(headers)).is_none()
    }

    /// The response to a preflight request, which a browser sends without a key before the actual request.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let headers = request.headers();
        let is_preflight = *request.method() == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight {
            return None;
        }
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let added = response.headers_mut();
        if self.allowed(headers).is_some() {
            added.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            if let Some(requested) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                added.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
            }
            added.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        for name in [header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_REQUEST_HEADERS] {
            added.append(header::VARY, name.into());
        }
        Some(response)
    }

    /// Sets the headers that let the page read the response. Those of the worker are replaced.
    pub(crate) fn set_headers(&self, allowed: Option<HeaderValue>, headers: &mut HeaderMap) {
        headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        if matches!(self.origins, AllowedOrigins::List(_)) {
            headers.append(header::VARY, header::ORIGIN.into());
        }
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        }
    }
}
