//! The headers of a request as the metadata of a call.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::collections::HashMap;

/// Headers that say where a request belongs in a trace.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The trace headers, for the field of that name.
pub(super) fn trace_headers(headers: &HeaderMap) -> HashMap<String, String> {
    let value = |name: &str| Some((name.to_owned(), headers.get(name)?.to_str().ok()?.to_owned()));
    TRACE_HEADERS.into_iter().filter_map(value).collect()
}

/// Whether a header may be the metadata of a call. What describes an HTTP body does not fit the messages, names that begin with
/// `grpc-` belong to gRPC, and values of names that end with `-bin` would have to be base64.
pub(crate) fn is_metadata(name: &HeaderName) -> bool {
    let is_of_http = matches!(
        *name,
        header::CONTENT_TYPE
            | header::CONTENT_LENGTH
            | header::CONTENT_ENCODING
            | header::ACCEPT
            | header::ACCEPT_ENCODING
            | header::CONNECTION
            | header::EXPECT
            | header::HOST
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::USER_AGENT
    );
    !is_of_http && !name.as_str().starts_with("grpc-") && !name.as_str().ends_with("-bin")
}

/// A value as metadata. One that differs for each request would push the others out of the table by which headers are compressed, so it
/// is marked to stay out of it.
pub(crate) fn value(name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let mut value = value.clone();
    if matches!(name.as_str(), "x-request-id" | "traceparent") {
        value.set_sensitive(true);
    }
    value
}

/// The headers of every HTTP/2 request that carries a call.
pub(crate) fn begin() -> HeaderMap {
    const AGENT: HeaderValue = HeaderValue::from_static(concat!("sgl-router/", env!("CARGO_PKG_VERSION")));
    let mut metadata = HeaderMap::with_capacity(16);
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(header::USER_AGENT, AGENT);
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_http_are_no_metadata() {
        let all =
            ["content-type", "accept", "host", "grpc-timeout", "token-bin", "x-request-id", "authorization"];
        let names = all.into_iter().filter(|name| is_metadata(&HeaderName::from_static(name)));
        assert_eq!(names.collect::<Vec<_>>(), ["x-request-id", "authorization"]);
    }
}
