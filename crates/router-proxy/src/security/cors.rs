//! Which web pages may call the router from a browser (the Fetch standard's CORS protocol).

use crate::data_plane::RouterBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

/// A browser may remember a permission for this long, in seconds: as long as browsers do at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The headers of ours that a page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, x-sglang-worker, retry-after");

/// Every method that the router passes on.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// An origin that no browser would send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("'{0}' is no origin; write SCHEME://HOST or SCHEME://HOST:PORT without a path, or *")]
pub struct CorsError(String);

/// The origins that are allowed.
#[derive(Clone, Debug)]
pub struct Cors(Allowed);

#[derive(Clone, Debug)]
enum Allowed {
    Any,
    These(Vec<HeaderValue>),
}

impl Cors {
    /// Parses the values of `--cors-allowed-origins`; none of them means no CORS.
    ///
    /// # Errors
    /// The first that is no origin.
    pub fn new(origins: &[String]) -> Result<Option<Self>, CorsError> {
        if origins.is_empty() {
            return Ok(None);
        }
        if origins.iter().any(|o| o == "*") {
            return Ok(Some(Self(Allowed::Any)));
        }
        let origins = origins.iter().map(|o| origin(o).ok_or_else(|| CorsError(o.clone())));
        Ok(Some(Self(Allowed::These(origins.collect::<Result<_, _>>()?))))
    }

    /// The value of `access-control-allow-origin` for a request, if its page may read the answer.
    pub(crate) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let asks = headers.get(header::ORIGIN)?;
        match &self.0 {
            Allowed::Any => Some(HeaderValue::from_static("*")),
            Allowed::These(origins) => origins.contains(asks).then(|| asks.clone()),
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
        if matches!(self.0, Allowed::These(_)) {
            headers.append(header::VARY, header::ORIGIN.into());
        }
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// The origin as browsers write it, if the text is one.
fn origin(text: &str) -> Option<HeaderValue> {
    let url = url::Url::parse(text).ok()?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let whole = plain && url.has_host() && url.username().is_empty() && url.password().is_none();
    whole.then(|| HeaderValue::from_str(&url.origin().ascii_serialization()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for (text, sent) in [
            ("https://chat.example", Some("https://chat.example")),
            ("https://chat.example/", Some("https://chat.example")),
            ("HTTPS://Chat.Example:443", Some("https://chat.example")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("chat.example", None),
            ("https://chat.example/app", None),
            ("https://", None),
            ("", None),
        ] {
            let parsed = origin(text);
            assert_eq!(parsed.as_ref().and_then(|v| v.to_str().ok()), sent, "{text}");
        }
    }
}
