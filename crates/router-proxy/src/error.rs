//! What can go wrong between a client and a worker, whose fault it is, and what the client is told.

use crate::data_plane::{Kept, RouterBody};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use std::time::Duration;

/// One failed request or attempt.
///
/// The client is told the kind, never the cause behind it; the log sees the cause.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No worker may be chosen.
    #[error("no healthy worker is available ({healthy} of {total} workers healthy)")]
    NoWorker {
        /// Workers that are healthy; more than zero only when every one of them has failed this request.
        healthy: usize,
        /// Workers that are configured.
        total: usize,
    },
    /// The worker could not be reached; it has not seen the request.
    #[error("the worker could not be reached")]
    Connect(#[source] Cause),
    /// The connection to the worker broke before its answer began.
    #[error("the worker closed the connection before it answered")]
    Broken(#[source] Cause),
    /// What the worker sent is not HTTP.
    #[error("the worker's answer is not valid HTTP")]
    Garbage(#[source] Cause),
    /// The worker did not answer in time.
    #[error("the worker did not answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The worker did not begin to answer in time for another one to be tried.
    #[error("the worker did not begin to answer within {} s", .0.as_secs_f64())]
    NoFirstByte(Duration),
    /// Every worker was tried and none did what was asked. The client gets the best of their answers.
    #[error("no worker could serve the request; the last answer was {}", .0.status())]
    Exhausted(Box<Kept>),
    /// The request's body is larger than allowed.
    #[error("the request body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request's body did not arrive.
    #[error("the request body could not be read")]
    ClientBody(#[source] Cause),
}

/// The error below a [`ProxyError`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// When the same request may be sent again to another worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The worker has not seen it: always.
    Safe,
    /// The worker may have seen it: as long as the client has not got a byte.
    OnlyBeforeFirstByte,
    /// It would end the same way.
    Never,
}

impl ProxyError {
    /// The error's name in metrics, records and the `code` of the client's error body.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exhausted(kept) => kept.code(),
            Self::NoWorker { .. } => "no_healthy_worker",
            Self::Connect(_) => "worker_unreachable",
            Self::Broken(_) => "worker_disconnected",
            Self::Garbage(_) => "worker_invalid_response",
            Self::Timeout(_) => "worker_timeout",
            Self::NoFirstByte(_) => "worker_first_byte_timeout",
            Self::TooLarge { .. } => "payload_too_large",
            Self::ClientBody(_) => "unreadable_body",
        }
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Exhausted(kept) => kept.status(),
            Self::NoWorker { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_) | Self::Broken(_) | Self::Garbage(_) => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) | Self::NoFirstByte(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientBody(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The `type` of the client's error body.
    const fn kind(&self) -> &'static str {
        match self {
            Self::NoWorker { .. } | Self::Exhausted(_) => "service_unavailable",
            Self::Connect(_) | Self::Broken(_) | Self::Garbage(_) => "bad_gateway",
            Self::Timeout(_) | Self::NoFirstByte(_) => "gateway_timeout",
            Self::TooLarge { .. } | Self::ClientBody(_) => "invalid_request_error",
        }
    }

    /// Whether another worker may be tried.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Connect(_) => Retry::Safe,
            Self::Broken(_) | Self::Garbage(_) | Self::NoFirstByte(_) => Retry::OnlyBeforeFirstByte,
            Self::NoWorker { .. }
            | Self::Timeout(_)
            | Self::Exhausted(_)
            | Self::TooLarge { .. }
            | Self::ClientBody(_) => Retry::Never,
        }
    }

    /// The answer that the client gets.
    pub fn response(&self) -> Response<RouterBody> {
        if let Self::Exhausted(kept) = self {
            return kept.response();
        }
        let body = router_protocol::error_body(&self.to_string(), self.kind(), self.code());
        let mut response = json_response(self.status(), body);
        match self {
            Self::NoWorker { .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // The rest of the body is still on its way; the connection cannot serve another request.
            Self::TooLarge { .. } => {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// A JSON answer of the router itself.
pub(crate) fn json_response(status: StatusCode, body: Bytes) -> Response<RouterBody> {
    let mut response = Response::new(RouterBody::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
