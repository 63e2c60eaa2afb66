//! Why a request cannot become a call.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// Why a request cannot become a call of the service.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The service has no call for the path.
    #[error("{0} cannot be served over gRPC: SGLang's service has no such call; add an HTTP worker for it")]
    Path(String),
    /// The call has no field for a member of the body.
    #[error(
        "{0} cannot be sent over gRPC: SGLang's service has no field for it; add an HTTP worker for such requests"
    )]
    Member(String),
    /// The body is not what the path takes.
    #[error("{0}")]
    Malformed(String),
}

impl Refusal {
    /// The status of the response.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Path(_) | Self::Member(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The body of the response, in the form of OpenAI's errors.
    pub(crate) fn body(&self) -> Bytes {
        error_body(self.status(), &self.to_string())
    }
}

/// An error in the form of OpenAI's API.
pub(crate) fn error_body(status: StatusCode, message: &str) -> Bytes {
    let kind = match status.as_u16() {
        400..=499 => "invalid_request_error",
        501 => "not_implemented_error",
        _ => "server_error",
    };
    let error = json!({"message": message, "type": kind, "param": null, "code": status.as_u16()});
    Bytes::from(json!({ "error": error }).to_string())
}
