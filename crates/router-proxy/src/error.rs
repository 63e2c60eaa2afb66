//! What can go wrong between a client and a worker, whose fault it is, and what the client is told.

use crate::data_plane::{Kept, RouterBody};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use router_telemetry::Leg;
use std::time::Duration;

/// One failed request or attempt.
///
/// The client is told the kind, never the cause behind it; the log sees the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
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
    /// The worker answered with an error, which the client does not get because another worker has a part in it.
    #[error("the worker answered with status {}", .0.as_u16())]
    Status(StatusCode),
    /// The worker gave the request up.
    #[error("the worker gave the request up")]
    Aborted(#[source] Cause),
    /// The worker turned out to be in trouble before it answered.
    #[error("the worker is in trouble")]
    Trouble,
    /// One leg of a split request failed, and the other one was ended with it.
    #[error("{leg} failed: {source}")]
    Leg {
        /// Which.
        leg: Leg,
        /// How.
        source: Box<Self>,
    },
    /// The request cannot be split into prefill and decode.
    #[error("the request cannot be split into prefill and decode: {0}")]
    Unsplittable(String),
    /// The request's body is larger than allowed.
    #[error("the request body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request's body did not arrive.
    #[error("the request body could not be read")]
    ClientBody(#[source] Cause),
    /// The client fell silent in the middle of its body, or sends it too slowly.
    #[error("the request body did not come in time ({} s)", .0.as_secs_f64())]
    ClientTimeout(Duration),
    /// As many requests wait as may wait.
    #[error("too many requests; try again later")]
    QueueFull,
    /// The request waited in the router's queue for too long.
    #[error("the request's turn did not come within {} s", .0.as_secs_f64())]
    QueueTimeout(Duration),
    /// Every worker has as many requests as it may have.
    #[error("every worker has as many requests as it may have; try again later")]
    WorkersFull,
    /// There is no room for the request's body.
    #[error("the router holds as many request bytes as it may; try again later")]
    NoMemory,
    /// The key is missing or none of ours.
    #[error("a valid key is needed: Authorization: Bearer KEY")]
    Unauthorized,
    /// Without a key, only this machine may run the router.
    #[error("without an admin key this is for this machine only")]
    Forbidden,
    /// The method is none that a reverse proxy serves.
    #[error("the method is not served here")]
    Method,
    /// The path is not served on this port.
    #[error("not served on this port: {0}")]
    NotHere(&'static str),
}

/// The error below a [`ProxyError`].
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// When the same request may be sent again to another worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Retry {
    /// The worker has not seen it: always.
    Safe,
    /// The worker may have seen it: as long as the client has not got a byte.
    OnlyBeforeFirstByte,
    /// It would end the same way.
    Never,
}

impl ProxyError {
    /// The error's name in metrics, records and the `code` of the client's error body.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Exhausted(kept) => kept.code(),
            Self::NoWorker { .. } => "no_healthy_worker",
            Self::Connect(_) => "worker_unreachable",
            Self::Broken(_) => "worker_disconnected",
            Self::Garbage(_) => "worker_invalid_response",
            Self::Timeout(_) => "worker_timeout",
            Self::Status(_) => "worker_error",
            Self::Aborted(_) => "worker_aborted",
            Self::Trouble => "worker_in_trouble",
            Self::Leg { leg, source } => source.code_on(*leg),
            Self::Unsplittable(_) => "unsplittable_request",
            Self::NoFirstByte(_) => "worker_first_byte_timeout",
            Self::TooLarge { .. } => "payload_too_large",
            Self::ClientBody(_) => "unreadable_body",
            Self::ClientTimeout(_) => "client_timeout",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout(_) => "queue_timeout",
            Self::WorkersFull => "workers_at_capacity",
            Self::NoMemory => "body_memory_exhausted",
            Self::Unauthorized => "invalid_api_key",
            Self::Forbidden => "forbidden",
            Self::Method => "method_not_allowed",
            Self::NotHere(_) => "not_found",
        }
    }

    /// The code of the same error on one leg of a split request.
    fn code_on(&self, leg: Leg) -> &'static str {
        let prefill = leg == Leg::Prefill;
        match self {
            Self::NoWorker { .. } if prefill => "no_healthy_prefill_worker",
            Self::NoWorker { .. } => "no_healthy_decode_worker",
            Self::WorkersFull => self.code(),
            Self::Timeout(_) | Self::NoFirstByte(_) if prefill => "prefill_timeout",
            Self::Timeout(_) | Self::NoFirstByte(_) => "decode_timeout",
            Self::Status(status) if is_busy(*status) && prefill => "prefill_busy",
            Self::Status(status) if is_busy(*status) => "decode_busy",
            _ if prefill => "prefill_server_error",
            _ => "decode_server_error",
        }
    }

    /// The status that the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Exhausted(kept) => kept.status(),
            Self::NoWorker { .. } | Self::WorkersFull | Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::Leg { source, .. } => source.status(),
            Self::Status(status) if is_busy(*status) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect(_)
            | Self::Broken(_)
            | Self::Garbage(_)
            | Self::Status(_)
            | Self::Aborted(_)
            | Self::Trouble => StatusCode::BAD_GATEWAY,
            Self::Timeout(_) | Self::NoFirstByte(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientBody(_) | Self::Unsplittable(_) => StatusCode::BAD_REQUEST,
            Self::ClientTimeout(_) | Self::QueueTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotHere(_) => StatusCode::NOT_FOUND,
        }
    }

    /// The `type` of the client's error body.
    fn kind(&self) -> &'static str {
        match self {
            Self::NoWorker { .. } | Self::Exhausted(_) | Self::WorkersFull | Self::NoMemory => {
                "service_unavailable"
            }
            Self::Leg { source, .. } => source.kind(),
            Self::Status(status) if is_busy(*status) => "service_unavailable",
            Self::Connect(_)
            | Self::Broken(_)
            | Self::Garbage(_)
            | Self::Status(_)
            | Self::Aborted(_)
            | Self::Trouble => "bad_gateway",
            Self::Timeout(_) | Self::NoFirstByte(_) => "gateway_timeout",
            Self::TooLarge { .. }
            | Self::ClientBody(_)
            | Self::ClientTimeout(_)
            | Self::Unsplittable(_)
            | Self::Method
            | Self::NotHere(_) => "invalid_request_error",
            Self::QueueFull | Self::QueueTimeout(_) => "rate_limit_error",
            Self::Unauthorized => "authentication_error",
            Self::Forbidden => "permission_error",
        }
    }

    /// Whether another worker may be tried.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Connect(_) => Retry::Safe,
            Self::Leg { source, .. } => source.retry(),
            Self::Broken(_)
            | Self::Garbage(_)
            | Self::NoFirstByte(_)
            | Self::Status(_)
            | Self::Aborted(_)
            | Self::Trouble => Retry::OnlyBeforeFirstByte,
            _ => Retry::Never,
        }
    }

    /// The answer that the client gets.
    pub(crate) fn response(&self) -> Response<RouterBody> {
        if let Self::Exhausted(kept) = self {
            return kept.response();
        }
        let body = router_protocol::error_body(&self.to_string(), self.kind(), self.code());
        let mut response = json_response(self.status(), body);
        let headers = response.headers_mut();
        match self {
            Self::QueueFull | Self::QueueTimeout(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            // Also of a leg.
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// Whether a worker says with this status that it has no room.
pub(crate) const fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503)
}

/// A JSON answer of the router itself.
pub(crate) fn json_response(status: StatusCode, body: Bytes) -> Response<RouterBody> {
    let mut response = Response::new(RouterBody::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
