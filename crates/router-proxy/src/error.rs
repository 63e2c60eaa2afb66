//! What can go wrong between a client and a worker, whose fault it is, and what the client is told.

use http::StatusCode;
use router_core::Outcome;
use router_telemetry::Leg;
use router_upstream::UpstreamError;
use std::fmt;
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
    /// No worker serves the model that the request names.
    #[error("the model '{model}' is not served here; the models are: {known}")]
    UnknownModel {
        /// As the request names it.
        model: String,
        /// The names of those that are served.
        known: String,
    },
    /// The request names no model, and the workers serve several.
    #[error("the request names no model, and there are several here: set 'model'; GET /v1/models lists them")]
    ModelUnnamed,
    /// The worker could not be reached; it has not seen the request.
    #[error("the worker could not be reached")]
    Connect(#[source] Box<UpstreamError>),
    /// The connection to the worker broke before its response began.
    #[error("the worker closed the connection before it responded")]
    Disconnected(#[source] Cause),
    /// A connection that was kept open ended, and the worker may have seen the request, which must not go to it twice.
    /// That is no fault of the worker.
    #[error("the worker closed the connection before it responded")]
    Stale(#[source] Cause),
    /// What the worker sent is not HTTP.
    #[error("the worker's response is not valid HTTP")]
    InvalidResponse(#[source] Cause),
    /// The worker did not respond in time.
    #[error("the worker did not respond within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// The worker did not begin to respond in time for another one to be tried.
    #[error("the worker did not begin to respond within {} s", .0.as_secs_f64())]
    NoFirstByte(Duration),
    /// Every worker that may be tried was overloaded or failed. The client gets the best of their responses.
    #[error("no worker could serve the request; the best response was {status}")]
    Exhausted {
        /// The status of that response.
        status: StatusCode,
        /// Whether its worker said that it has no room, as opposed to failing.
        is_overloaded: bool,
    },
    /// The worker responded with an error, which the client does not get because another worker has a part in the request.
    #[error("the worker responded with status {}", .0.as_u16())]
    Status(StatusCode),
    /// The worker aborted the request.
    #[error("the worker aborted the request")]
    Aborted(#[source] Cause),
    /// The worker became unhealthy before it responded.
    #[error("the worker became unhealthy")]
    WorkerUnhealthy,
    /// One leg of a split request failed, and the other one was ended with it.
    #[error("{leg} failed: {source}")]
    Leg {
        /// Which.
        leg: Leg,
        /// How.
        source: Box<Self>,
    },
    /// Another worker served a request that a gateway carries: this one was passed over.
    #[error("the gateway had the request served by another worker")]
    ServedElsewhere,
    /// A gateway that carries the request got no response from a worker.
    #[error("the gateway got no response from a worker")]
    NoResponse,
    /// The router would have to carry the request itself.
    #[error("a request cannot be routed without being carried here: {0}")]
    NotRoutable(&'static str),
    /// The token names no open route.
    #[error("no open route has this token; it has ended, or its time limit has passed")]
    UnknownRoute,
    /// As many routes are open as may be.
    #[error("too many routes are open; finish them, or set a shorter --route-lease-timeout-secs")]
    TooManyRoutes,
    /// What was sent to the decision service is not what it understands.
    #[error("{0}")]
    InvalidRoute(String),
    /// The request cannot be split into prefill and decode.
    #[error("the request cannot be split into prefill and decode: {0}")]
    Unsplittable(String),
    /// SGLang does not split requests of this route.
    #[error(
        "{0} is not served with --pd-disaggregation: SGLang takes no bootstrap room on it; use /v1/chat/completions"
    )]
    NotDisaggregated(&'static str),
    /// The request's body is larger than allowed.
    #[error("the request body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request's body did not arrive.
    #[error("the request body could not be read")]
    ClientBody(#[source] Cause),
    /// The client stopped in the middle of its body, or sends it too slowly.
    #[error("the request body did not come in time ({} s)", .0.as_secs_f64())]
    ClientTimeout(Duration),
    /// As many requests wait as may wait.
    #[error("too many requests; try again later")]
    QueueFull,
    /// The request waited in the router's queue for too long.
    #[error("the request waited in the queue for more than {} s", .0.as_secs_f64())]
    QueueTimeout(Duration),
    /// Every worker has as many requests as it may have.
    #[error("every worker has as many requests as it may have; try again later")]
    WorkersFull,
    /// There is no room for the request's body.
    #[error("the router holds as many bytes of request bodies as it may; try again later")]
    NoMemory,
    /// The key is missing, or is not one that is accepted.
    #[error("a valid key is needed: Authorization: Bearer KEY, or x-api-key: KEY")]
    Unauthorized,
    /// Where no admin key is configured, the admin routes are for this machine only.
    #[error("without an admin key this is for this machine only{0}")]
    NotLocal(NotLocal),
    /// A web page of another site sent a request that would change something, show the fleet, or open a WebSocket.
    #[error(
        "web pages of other sites may not send this request (sec-fetch-site, origin); --cors-allowed-origins allows them"
    )]
    OtherSite,
    /// The request's `host` is missing, doubled or invalid.
    #[error("{0}")]
    Host(&'static str),
    /// The head of an HTTP/2 request is one that HTTP/1.1 cannot say, or could be read in two ways.
    #[error("{0}")]
    MalformedHead(&'static str),
    /// CONNECT and TRACE are not supported.
    #[error("the method is not served here")]
    Method,
    /// The path is not served on this port.
    #[error("not served on this port: {0}")]
    NotServed(&'static str),
}

/// Why a request is not one of a user of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotLocal {
    /// The client is another machine.
    Client,
    /// A proxy forwarded it, says a header or the version.
    Forwarded,
    /// A web page sent it.
    Page,
    /// It is addressed to another host, as a page does whose name an attacker resolved to this machine.
    Host,
}

impl fmt::Display for NotLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => {
                "; --admin-api-key, or in a trusted network --allow-remote-admin \
                 (SGL_ROUTER_ALLOW_REMOTE_ADMIN=true), lets other machines in"
            }
            Self::Forwarded => "; a proxy forwarded the request, so it needs --admin-api-key",
            Self::Page => "; a web page sent the request, so it needs --admin-api-key",
            Self::Host => "; the host header names another host: use localhost, or --admin-api-key",
        })
    }
}

/// The error below a [`ProxyError`].
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a [`ProxyError`] means for a client and for a retry.
struct ErrorSpec {
    /// The name in metrics, records and the `code` of the client's error body.
    code: &'static str,
    status: StatusCode,
    /// The `type` of the client's error body.
    kind: &'static str,
    /// Whether another worker may be tried, as long as the client has not got a byte.
    is_retryable: bool,
}

impl ErrorSpec {
    const fn new(code: &'static str, status: StatusCode, kind: &'static str) -> Self {
        Self { code, status, kind, is_retryable: false }
    }

    /// An error of a worker, after which another one may be tried.
    const fn of_worker(code: &'static str) -> Self {
        Self { code, status: StatusCode::BAD_GATEWAY, kind: "bad_gateway", is_retryable: true }
    }

    const fn unavailable(code: &'static str) -> Self {
        Self::new(code, StatusCode::SERVICE_UNAVAILABLE, "service_unavailable")
    }

    const fn invalid(code: &'static str, status: StatusCode) -> Self {
        Self::new(code, status, "invalid_request_error")
    }
}

impl ProxyError {
    /// Whether the request was refused because no worker could take it, or too many wait for one: more workers would serve it.
    pub(crate) const fn is_lack_of_workers(&self) -> bool {
        matches!(self, Self::QueueFull | Self::QueueTimeout(_) | Self::WorkersFull | Self::NoWorker { .. })
    }

    fn spec(&self) -> ErrorSpec {
        const TIMEOUT: StatusCode = StatusCode::GATEWAY_TIMEOUT;
        match self {
            Self::NoWorker { .. } => ErrorSpec::unavailable("no_healthy_worker"),
            Self::UnknownModel { .. } => ErrorSpec::invalid("model_not_found", StatusCode::NOT_FOUND),
            Self::ModelUnnamed => ErrorSpec::invalid("model_required", StatusCode::BAD_REQUEST),
            Self::Connect(_) => ErrorSpec::of_worker("worker_unreachable"),
            Self::Disconnected(_) | Self::Stale(_) => ErrorSpec::of_worker("worker_disconnected"),
            Self::InvalidResponse(_) => ErrorSpec::of_worker("worker_invalid_response"),
            Self::Timeout(_) => ErrorSpec::new("worker_timeout", TIMEOUT, "gateway_timeout"),
            Self::NoFirstByte(_) => ErrorSpec {
                is_retryable: true,
                ..ErrorSpec::new("worker_first_byte_timeout", TIMEOUT, "gateway_timeout")
            },
            Self::Exhausted { status, is_overloaded } => {
                let code = if *is_overloaded { "all_workers_busy" } else { "all_workers_failed" };
                ErrorSpec { status: *status, ..ErrorSpec::unavailable(code) }
            }
            Self::Status(status) if is_overloaded(*status) => {
                ErrorSpec { is_retryable: true, ..ErrorSpec::unavailable("worker_error") }
            }
            Self::Status(_) => ErrorSpec::of_worker("worker_error"),
            Self::Aborted(_) => ErrorSpec::of_worker("worker_aborted"),
            Self::WorkerUnhealthy => ErrorSpec::of_worker("worker_in_trouble"),
            Self::Leg { leg, source } => ErrorSpec { code: source.code_on(*leg), ..source.spec() },
            Self::ServedElsewhere => ErrorSpec::of_worker("worker_passed_over"),
            Self::NoResponse => ErrorSpec::of_worker("gateway_without_response"),
            Self::NotRoutable(_) => {
                ErrorSpec::new("not_routable", StatusCode::NOT_IMPLEMENTED, "not_implemented")
            }
            Self::UnknownRoute => ErrorSpec::invalid("unknown_route_token", StatusCode::NOT_FOUND),
            Self::TooManyRoutes => ErrorSpec::unavailable("too_many_open_routes"),
            Self::InvalidRoute(_) => ErrorSpec::invalid("invalid_route_request", StatusCode::BAD_REQUEST),
            Self::Unsplittable(_) => ErrorSpec::invalid("unsplittable_request", StatusCode::BAD_REQUEST),
            Self::NotDisaggregated(_) => {
                ErrorSpec::new("route_not_disaggregated", StatusCode::NOT_IMPLEMENTED, "not_implemented")
            }
            Self::TooLarge { .. } => ErrorSpec::invalid("payload_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::ClientBody(_) => ErrorSpec::invalid("unreadable_body", StatusCode::BAD_REQUEST),
            Self::ClientTimeout(_) => ErrorSpec::invalid("client_timeout", StatusCode::REQUEST_TIMEOUT),
            Self::QueueFull => {
                ErrorSpec::new("queue_full", StatusCode::TOO_MANY_REQUESTS, "rate_limit_error")
            }
            Self::QueueTimeout(_) => {
                ErrorSpec::new("queue_timeout", StatusCode::REQUEST_TIMEOUT, "rate_limit_error")
            }
            Self::WorkersFull => ErrorSpec::unavailable("workers_at_capacity"),
            Self::NoMemory => ErrorSpec::unavailable("body_memory_exhausted"),
            Self::Unauthorized => {
                ErrorSpec::new("invalid_api_key", StatusCode::UNAUTHORIZED, "authentication_error")
            }
            Self::NotLocal(_) | Self::OtherSite => {
                ErrorSpec::new("forbidden", StatusCode::FORBIDDEN, "permission_error")
            }
            Self::Host(_) => ErrorSpec::invalid("invalid_host", StatusCode::BAD_REQUEST),
            Self::MalformedHead(_) => ErrorSpec::invalid("malformed_head", StatusCode::BAD_REQUEST),
            Self::Method => ErrorSpec::invalid("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED),
            Self::NotServed(_) => ErrorSpec::invalid("not_found", StatusCode::NOT_FOUND),
        }
    }

    /// The code of this error on one leg of a split request.
    fn code_on(&self, leg: Leg) -> &'static str {
        let prefill = leg == Leg::Prefill;
        match self {
            Self::NoWorker { .. } if prefill => "no_healthy_prefill_worker",
            Self::NoWorker { .. } => "no_healthy_decode_worker",
            Self::WorkersFull => self.code(),
            Self::Timeout(_) | Self::NoFirstByte(_) if prefill => "prefill_timeout",
            Self::Timeout(_) | Self::NoFirstByte(_) => "decode_timeout",
            Self::Status(status) if is_overloaded(*status) && prefill => "prefill_busy",
            Self::Status(status) if is_overloaded(*status) => "decode_busy",
            _ if prefill => "prefill_server_error",
            _ => "decode_server_error",
        }
    }

    /// The error's name in metrics, records and the `code` of the client's error body.
    pub(crate) fn code(&self) -> &'static str {
        self.spec().code
    }

    /// The status that the client gets.
    pub(crate) fn status(&self) -> StatusCode {
        self.spec().status
    }

    /// The `type` of the client's error body.
    pub(crate) fn kind(&self) -> &'static str {
        self.spec().kind
    }

    /// How an attempt ended that failed with this error.
    pub(crate) const fn outcome(&self) -> Outcome {
        if matches!(self, Self::Stale(_)) { Outcome::Cancelled } else { Outcome::Failed }
    }

    /// Whether another worker may be tried, as long as the client has not got a byte.
    pub(crate) fn is_retryable(&self) -> bool {
        self.spec().is_retryable
    }
}

/// Whether a worker says with this status that it has no room; 529 is Anthropic's.
pub(crate) const fn is_overloaded(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503 | 529)
}
