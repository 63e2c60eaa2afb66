//! Errors of the router as clients see them.

use super::RouterBody;
use crate::error::ProxyError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use router_core::Route;
use router_protocol::{error_body, messages_error_body};

/// The response of the router that tells a client of `error`.
pub(crate) fn error_response(error: &ProxyError, route: Route) -> Response<RouterBody> {
    error_answer(error, route).map(RouterBody::full)
}

/// What tells a client of `error`: its status, a body as the clients of the route parse it, and what the status asks for.
pub(crate) fn error_answer(error: &ProxyError, route: Route) -> Response<Bytes> {
    let message = error.to_string();
    let body = if route == Route::Messages {
        messages_error_body(&message, error.status().as_u16(), error.code())
    } else {
        error_body(&message, error.kind(), error.code())
    };
    let mut response = json_answer(error.status(), body);
    let headers = response.headers_mut();
    match error {
        ProxyError::QueueFull | ProxyError::QueueTimeout(_) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Also that of a leg.
        _ if error.status() == StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        ProxyError::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {}
    }
    response
}

/// A JSON response of the router itself.
pub(crate) fn json_response(status: StatusCode, body: Bytes) -> Response<RouterBody> {
    json_answer(status, body).map(RouterBody::full)
}

fn json_answer(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
