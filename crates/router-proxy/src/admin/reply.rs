//! Responses of the admin routes.

use crate::response::{RouterBody, json_response};
use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

/// A JSON response.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<RouterBody> {
    json_response(status, Bytes::from(value.to_string()))
}

/// An error response that blames the request.
pub(super) fn refuse(status: StatusCode, message: &str, code: &str) -> Response<RouterBody> {
    json_response(status, router_protocol::error_body(message, "invalid_request_error", code))
}
