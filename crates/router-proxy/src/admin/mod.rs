//! Routes that the router serves itself: health, workers, metrics, traces, and requests to all workers.

mod aborts;
mod body;
mod config;
mod control;
mod control_call;
mod dashboard;
pub(crate) mod embedded;
mod engine_metrics;
mod fleet;
mod flush;
mod live;
mod named_worker;
mod recipients;
mod reply;
mod route;
mod scale;
mod traces;
mod weight_group;
mod worker_answer;
mod workers;

use config::ConfigEndpoint;
use control_call::ControlCall;
pub use embedded::TrackingDisabled;
use reply::json;
use route::RouteEndpoint;
use traces::TraceEndpoint;
use workers::WorkersEndpoint;
pub use workers::WorkersError;

use crate::error::ProxyError;
use crate::response::{RouterBody, json_response};
use crate::security::RequiredRole;
use crate::state::AppState;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::Arc;

/// A route that does not go through the balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    /// Whether the process runs.
    Liveness,
    /// The same, with the counts of workers.
    Health,
    /// Whether a worker is available.
    Readiness,
    /// The models of all workers.
    Models,
    /// Information of one healthy worker, with the path of the same route in other engine versions.
    Info(&'static str),
    /// The load of every worker.
    Loads,
    /// The figures from which the fleet is scaled.
    Scale,
    /// The configuration.
    Config(ConfigEndpoint),
    /// Workers of the fleet.
    Workers(WorkersEndpoint),
    /// Metrics of the router.
    Metrics,
    /// The page that shows the state of the router.
    Dashboard,
    /// The state of the router, as a stream of events.
    Live,
    /// Traces of recent requests.
    Traces(TraceEndpoint),
    /// Flushes the prefix caches of all workers.
    FlushCache,
    /// The metrics of all workers.
    EngineMetrics,
    /// A call that controls engines, to several workers.
    Control(ControlCall),
    /// Which worker a request should go to, for those that carry it themselves.
    Route(RouteEndpoint),
    /// Aborts a request on all workers, because the router does not know which one has it.
    Abort,
}

impl Endpoint {
    /// The endpoint of a request; `None` when it is for a worker.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let get = *method == Method::GET || *method == Method::HEAD;
        match path {
            "/liveness" | "/healthz" if get => Some(Self::Liveness),
            "/health" if get => Some(Self::Health),
            "/readiness" | "/readyz" if get => Some(Self::Readiness),
            "/v1/models" if get => Some(Self::Models),
            "/get_server_info" if get => Some(Self::Info("/server_info")),
            "/server_info" if get => Some(Self::Info("/get_server_info")),
            "/get_model_info" if get => Some(Self::Info("/model_info")),
            "/model_info" if get => Some(Self::Info("/get_model_info")),
            "/get_loads" if get => Some(Self::Loads),
            "/v1/scale" if get => Some(Self::Scale),
            "/dashboard" if get => Some(Self::Dashboard),
            "/v1/live" if *method == Method::GET => Some(Self::Live),
            "/v1/config" => ConfigEndpoint::of(method).map(Self::Config),
            "/metrics" if get => Some(Self::Metrics),
            "/engine_metrics" if get => Some(Self::EngineMetrics),
            _ if path.starts_with("/v1/route") => RouteEndpoint::of(method, path).map(Self::Route),
            _ if path.starts_with("/v1/traces") => TraceEndpoint::of(method, path).map(Self::Traces),
            "/flush_cache" if get || *method == Method::POST => Some(Self::FlushCache),
            "/abort_request" if *method == Method::POST => Some(Self::Abort),
            _ => WorkersEndpoint::of(method, path)
                .map(Self::Workers)
                .or_else(|| ControlCall::of(method, path).map(Self::Control)),
        }
    }

    /// The role that a request for this endpoint requires.
    pub(crate) const fn required_role(self) -> RequiredRole {
        match self {
            Self::Liveness | Self::Health | Self::Readiness => RequiredRole::Anyone,
            Self::Dashboard => RequiredRole::Page,
            Self::Models
            | Self::Info(_)
            | Self::Metrics
            | Self::EngineMetrics
            | Self::Abort
            | Self::Route(_) => RequiredRole::User,
            // The buttons of the page.
            Self::Config(ConfigEndpoint::Patch) | Self::Workers(WorkersEndpoint::Update) => {
                RequiredRole::AdminByPage
            }
            Self::Loads
            | Self::Scale
            | Self::Live
            | Self::Config(_)
            | Self::Workers(_)
            | Self::Traces(_)
            | Self::FlushCache
            | Self::Control(_) => RequiredRole::Admin,
        }
    }

    /// Whether web pages of other sites may not send it, because it changes something or shows the fleet.
    pub(crate) const fn is_guarded(self) -> bool {
        let role = self.required_role();
        matches!(role, RequiredRole::Admin | RequiredRole::AdminByPage) || matches!(self, Self::Abort)
    }
}

/// Serves a request that does not go through the balancer. `admin` says whether it may do what only admins may, where that
/// depends on its body.
pub(crate) async fn answer(
    state: &Arc<AppState>,
    endpoint: Endpoint,
    admin: Result<(), ProxyError>,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    match endpoint {
        Endpoint::Liveness => json(StatusCode::OK, &json!({"status": "ok"})),
        Endpoint::Health => json(StatusCode::OK, &worker_counts(state)),
        Endpoint::Readiness => readiness(state),
        Endpoint::Models => fleet::models(state, &request).await,
        Endpoint::Info(other) => fleet::info(state, request, other).await,
        Endpoint::Loads => fleet::loads(state),
        Endpoint::Scale => scale::answer(state),
        Endpoint::Dashboard => dashboard::answer(state),
        Endpoint::Live => live::answer(state),
        Endpoint::Config(which) => config::answer(state, which, request).await,
        Endpoint::Workers(which) => workers::answer(state, which, request).await,
        Endpoint::Metrics => metrics(state, request.headers()),
        Endpoint::Traces(which) => traces::answer(state, which, request).await,
        Endpoint::FlushCache => flush::answer(state, request).await,
        Endpoint::EngineMetrics => engine_metrics::answer(state, request.uri()).await,
        Endpoint::Control(call) => control::answer(state, call, request).await,
        Endpoint::Route(which) => route::answer(state, which, request).await,
        Endpoint::Abort => aborts::answer(state, admin, request).await,
    }
}

/// Serves the metrics port, which has no other route.
pub(crate) fn metrics_only(state: &AppState, request: &Request<Incoming>) -> Response<RouterBody> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics" | "/") => metrics(state, request.headers()),
        (_, path) => {
            let message = format!("{path} is not served here; this port has GET /metrics only");
            let body = router_protocol::error_body(&message, "invalid_request_error", "not_found");
            json_response(StatusCode::NOT_FOUND, body)
        }
    }
}

fn readiness(state: &AppState) -> Response<RouterBody> {
    let status = if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &worker_counts(state))
}

/// Whether requests find a worker, and how many workers are healthy.
fn worker_counts(state: &AppState) -> Value {
    let status = if state.is_ready() { "ready" } else { "not ready" };
    let healthy = state.pools().map(|pool| pool.healthy()).sum::<usize>();
    let total = state.pools().map(|pool| pool.candidates.all().len()).sum::<usize>();
    json!({"status": status, "healthy_workers": healthy, "total_workers": total})
}

/// The metrics, in the text format 0.0.4 unless OpenMetrics is asked for.
fn metrics(state: &AppState, headers: &HeaderMap) -> Response<RouterBody> {
    let (metrics, gauges) = (&state.main.telemetry.metrics, state.gauges());
    let (text, kind) = if accepts_open_metrics(headers) {
        (metrics.render(gauges), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (metrics.render_text_format(gauges), "text/plain; version=0.0.4; charset=utf-8")
    };
    let mut response = Response::new(RouterBody::full(Bytes::from(text)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Whether `accept` names OpenMetrics, with a quality that is not 0. Prometheus does; browsers and curl do not.
fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/openmetrics-text"));
        let is_refused = |part: &str| {
            part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
        };
        is_named && !parts.any(is_refused)
    })
}
