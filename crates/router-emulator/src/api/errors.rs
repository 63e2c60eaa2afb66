//! Error bodies, in the shapes SGLang gives them.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::meta_info::{QUEUE_FULL, quoted};
use crate::api::body::HttpResponse;

/// Marks the response to a body that is not JSON, or not of the expected shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsMalformed;

/// A body that is not JSON, or not of the expected shape.
#[derive(Debug)]
pub(crate) struct MalformedBody {
    error: serde_json::Error,
    length: usize,
    path: &'static str,
}

/// Parses a request body; `path` is named in the error.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], path: &'static str) -> Result<T, MalformedBody> {
    serde_json::from_slice(body).map_err(|error| MalformedBody { error, length: body.len(), path })
}

impl MalformedBody {
    /// What is wrong, in one line.
    pub(crate) fn summary(&self) -> String {
        let message = self.error.to_string();
        match message.strip_prefix("missing field `").and_then(|m| m.split('`').next()) {
            Some(field) => format!("{field}: Field required"),
            None => message,
        }
    }

    /// FastAPI's validation error as SGLang wraps it.
    pub(crate) fn response(&self) -> HttpResponse {
        let message = self.error.to_string();
        let detail = if self.length == 0 {
            "{'type': 'missing', 'loc': ('body',), 'msg': 'Field required', 'input': None}".to_owned()
        } else if !self.error.is_data() {
            format!(
                "{{'type': 'json_invalid', 'loc': ('body', {}), 'msg': 'JSON decode error', 'input': {{}}, 'ctx': \
                 {{'error': 'unexpected end of data'}}}}",
                self.length
            )
        } else if let Some(field) = message.strip_prefix("missing field `").and_then(|m| m.split('`').next())
        {
            format!("{{'type': 'missing', 'loc': ('body', '{field}'), 'msg': 'Field required'}}")
        } else {
            format!("{{'type': 'value_error', 'loc': ('body',), 'msg': \"{message}\"}}")
        };
        let message = format!("1 validation error:\n  {detail}\n\n    POST {} [{detail}]", self.path);
        let mut response = openai(StatusCode::BAD_REQUEST, "Bad Request", &message);
        response.extensions_mut().insert(IsMalformed);
        response
    }
}

/// `{"object":"error",...}`, the form of the OpenAI routes and of everything that fails before a route runs.
pub(crate) fn openai(status: StatusCode, kind: &str, message: &str) -> HttpResponse {
    json_response(status, &OpenAiError { object: "error", message, kind, param: None, code: status.as_u16() })
}

/// Fields in wire order.
#[derive(serde::Serialize)]
struct OpenAiError<'a> {
    object: &'a str,
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: u16,
}

/// An invalid request, on an OpenAI route.
pub(crate) fn bad_request(message: &str) -> HttpResponse {
    openai(StatusCode::BAD_REQUEST, "BadRequestError", message)
}

/// An invalid request, on `/generate`.
pub(crate) fn native(message: &str) -> HttpResponse {
    json_response(StatusCode::BAD_REQUEST, &json!({"error": {"message": message}}))
}

/// The queue is at its limit.
pub(crate) fn queue_full() -> HttpResponse {
    openai(StatusCode::SERVICE_UNAVAILABLE, "503", QUEUE_FULL)
}

/// A JSON response.
pub(crate) fn json_response(status: StatusCode, body: &impl serde::Serialize) -> HttpResponse {
    let bytes = serde_json::to_vec(body).unwrap_or_default();
    with_type(status, "application/json", Bytes::from(bytes))
}

/// A response with a content type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, bytes: Bytes) -> HttpResponse {
    let mut response = HttpResponse::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::new(Bytes::new().into());
    *response.status_mut() = status;
    response
}

/// A stream of one event.
pub(crate) fn one_event(json: &str) -> HttpResponse {
    let body = format!("data: {json}\n\ndata: [DONE]\n\n");
    with_type(StatusCode::OK, "text/event-stream; charset=utf-8", body.into())
}

/// An error inside a stream of an OpenAI route that was opened with 200; the spaces are SGLang's.
pub(crate) fn openai_stream_error(kind: &str, message: &str, code: StatusCode) -> HttpResponse {
    one_event(&format!(
        "{{\"error\": {{\"object\": \"error\", \"message\": {}, \"type\": \"{kind}\", \"param\": null, \"code\": {}}}}}",
        quoted(message),
        code.as_u16()
    ))
}
