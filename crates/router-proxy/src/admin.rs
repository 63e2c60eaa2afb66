//! What the router answers itself: its health, its workers, its metrics, and questions to the fleet.

mod traces;

use traces::TraceEndpoint;

use crate::config::WorkerConfig;
use crate::data_plane::{RouterBody, WORKER, strip_hop_by_hop};
use crate::error::{ProxyError, json_response};
use crate::router::Shared;
use crate::workers::{Health, MembershipError, Worker, WorkerUrl, fetch, fetch_with};
use bytes::Bytes;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A worker that does not answer a question of the router's own within this time is left out.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A request that does not go through the balancer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Endpoint {
    /// The process runs.
    Liveness,
    /// At least one worker gets requests.
    Readiness,
    /// The models of all workers.
    Models,
    /// A question to one healthy worker, with the path that other versions have for it.
    Info(&'static str),
    /// The load of every worker.
    Loads,
    /// The URLs of all workers.
    ListWorkers,
    /// A worker joins.
    AddWorker,
    /// A worker leaves.
    RemoveWorker,
    /// Metrics of the router.
    Metrics,
    /// What was decided for recent requests.
    Traces(TraceEndpoint),
    /// To all workers.
    FlushCache,
}

impl Endpoint {
    /// The endpoint that answers, if the request is not for a worker.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let get = *method == Method::GET || *method == Method::HEAD;
        match path {
            "/liveness" | "/healthz" if get => Some(Self::Liveness),
            "/health" | "/readiness" | "/readyz" if get => Some(Self::Readiness),
            "/v1/models" if get => Some(Self::Models),
            "/get_server_info" if get => Some(Self::Info("/server_info")),
            "/server_info" if get => Some(Self::Info("/get_server_info")),
            "/get_model_info" if get => Some(Self::Info("/model_info")),
            "/model_info" if get => Some(Self::Info("/get_model_info")),
            "/get_loads" if get => Some(Self::Loads),
            "/list_workers" if get => Some(Self::ListWorkers),
            "/add_worker" if *method == Method::POST => Some(Self::AddWorker),
            "/remove_worker" if *method == Method::POST => Some(Self::RemoveWorker),
            "/metrics" if get => Some(Self::Metrics),
            _ if path.starts_with("/v1/traces") => TraceEndpoint::of(method, path).map(Self::Traces),
            "/flush_cache" if get || *method == Method::POST => Some(Self::FlushCache),
            _ => None,
        }
    }
}

/// Answers a request that does not go through the balancer.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    endpoint: Endpoint,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    match endpoint {
        Endpoint::Liveness => json(StatusCode::OK, &json!({"status": "ok"})),
        Endpoint::Readiness => readiness(shared),
        Endpoint::Models => models(shared).await,
        Endpoint::Info(other) => info(shared, request, other).await,
        Endpoint::Loads => loads(shared),
        Endpoint::ListWorkers => workers(shared),
        Endpoint::AddWorker => {
            change(shared, &request, |url| shared.join(&WorkerConfig { url, weight: 1.0, priority: 50 }))
        }
        Endpoint::RemoveWorker => change(shared, &request, |url| shared.leave(&url)),
        Endpoint::Metrics => metrics(shared),
        Endpoint::Traces(which) => traces::answer(shared, which, request).await,
        Endpoint::FlushCache => flush_cache(shared, request).await,
    }
}

/// The metrics port answers nothing else.
pub(crate) fn metrics_only(shared: &Shared, request: &Request<Incoming>) -> Response<RouterBody> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics" | "/") => metrics(shared),
        (_, path) => {
            let message = format!("{path} is not served here; this port has GET /metrics only");
            let body = router_protocol::error_body(&message, "invalid_request_error", "not_found");
            json_response(StatusCode::NOT_FOUND, body)
        }
    }
}

pub(super) fn json(status: StatusCode, value: &Value) -> Response<RouterBody> {
    json_response(status, Bytes::from(value.to_string()))
}

fn readiness(shared: &Shared) -> Response<RouterBody> {
    let (healthy, total) = (shared.healthy(), shared.workers.all().len());
    let counts = |status: &str| json!({"status": status, "healthy_workers": healthy, "total_workers": total});
    if healthy > 0 {
        json(StatusCode::OK, &counts("ready"))
    } else {
        json(StatusCode::SERVICE_UNAVAILABLE, &counts("not ready"))
    }
}

fn metrics(shared: &Shared) -> Response<RouterBody> {
    let text = shared.records.metrics.render(&shared.gauges());
    let mut response = Response::new(RouterBody::full(Bytes::from(text)));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The workers that are not leaving.
fn workers(shared: &Shared) -> Response<RouterBody> {
    let present = shared.workers.all().into_iter().filter(|w| w.health() != Health::Draining);
    let urls: Vec<_> = present.map(|w| w.url.to_string()).collect();
    json(StatusCode::OK, &json!({"urls": urls}))
}

fn loads(shared: &Shared) -> Response<RouterBody> {
    let loads = shared.worker_loads().into_iter().map(|g| {
        json!({"worker": g.worker.url.as_str(), "load": g.in_flight, "waiting": g.waiting,
               "health": g.worker.health().as_str()})
    });
    json(StatusCode::OK, &json!({"workers": loads.collect::<Vec<_>>()}))
}

/// Lets the worker named by `?url=` join or leave.
fn change(
    shared: &Shared,
    request: &Request<Incoming>,
    change: impl FnOnce(WorkerUrl) -> Result<(), MembershipError>,
) -> Response<RouterBody> {
    let bad = |message: &str| {
        let body = router_protocol::error_body(message, "invalid_request_error", "invalid_worker");
        json_response(StatusCode::BAD_REQUEST, body)
    };
    let query = request.uri().query().unwrap_or("");
    let url = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "url");
    let Some((_, url)) = url else { return bad("the worker's URL is missing; write ?url=http://HOST:PORT") };
    let url: WorkerUrl = match url.parse() {
        Ok(url) => url,
        Err(error) => return bad(&error.to_string()),
    };
    match change(url) {
        Ok(()) => workers(shared),
        Err(error) => bad(&error.to_string()),
    }
}

/// The union of what the healthy workers serve, each model once.
async fn models(shared: &Arc<Shared>) -> Response<RouterBody> {
    let workers = shared.healthy_workers();
    if workers.is_empty() {
        return shared.nobody().response();
    }
    let path = PathAndQuery::from_static("/v1/models");
    let answers = join_all(workers.iter().map(|w| fetch(w, &path, TIMEOUT))).await;
    let mut seen = HashSet::new();
    let mut models = Vec::new();
    let mut failure = None;
    for answer in answers {
        let body = match answer {
            Ok((status, body)) if status.is_success() => body,
            Ok((status, _)) => {
                failure.get_or_insert_with(|| format!("HTTP status {status}").into());
                continue;
            }
            Err(error) => {
                failure.get_or_insert_with(|| error.into());
                continue;
            }
        };
        let list = serde_json::from_slice::<Value>(&body).ok();
        for model in list.as_ref().and_then(|l| l.get("data")).and_then(Value::as_array).into_iter().flatten()
        {
            if model.get("id").and_then(Value::as_str).is_some_and(|id| seen.insert(id.to_owned())) {
                models.push(model.clone());
            }
        }
    }
    match failure {
        Some(cause) if models.is_empty() => ProxyError::Broken(cause).response(),
        _ => json(StatusCode::OK, &json!({"object": "list", "data": models})),
    }
}

/// Puts the question to healthy workers in turn until one answers; `other` is the path of other server versions.
async fn info(shared: &Arc<Shared>, request: Request<Incoming>, other: &'static str) -> Response<RouterBody> {
    let asked = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let mut headers = request.into_parts().0.headers;
    strip_hop_by_hop(&mut headers);
    let mut failure = None;
    for worker in shared.healthy_workers() {
        for path in [&asked, &PathAndQuery::from_static(other)] {
            let question = ((Method::GET, path), (headers.clone(), Bytes::new()));
            match fetch_with(&worker, question.0, question.1, TIMEOUT).await {
                Ok((StatusCode::NOT_FOUND, body)) => failure = Some((StatusCode::NOT_FOUND, body)),
                Ok((status, body)) => return from_worker(&worker, status, body),
                Err(error) => {
                    failure = None;
                    tracing::debug!(worker = %worker.url, %error, "no information");
                    break;
                }
            }
        }
    }
    match failure {
        Some((status, body)) => json_response(status, body),
        None => shared.nobody().response(),
    }
}

fn from_worker(worker: &Worker, status: StatusCode, body: Bytes) -> Response<RouterBody> {
    let mut response = json_response(status, body);
    response.headers_mut().insert(WORKER, worker.header.clone());
    response
}

/// Asks every worker to forget its prefix cache; 200 only if all did.
async fn flush_cache(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<RouterBody> {
    let mut headers = request.into_parts().0.headers;
    strip_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    let workers = shared.workers.all();
    let path = PathAndQuery::from_static("/flush_cache");
    let asks = workers
        .iter()
        .map(|w| fetch_with(w, (Method::POST, &path), (headers.clone(), Bytes::new()), TIMEOUT));
    let answers = join_all(asks).await;
    let mut flushed = Vec::new();
    let mut failed = Vec::new();
    for (worker, answer) in workers.iter().zip(answers) {
        match answer {
            Ok((status, _)) if status.is_success() => flushed.push(worker.url.to_string()),
            Ok((status, body)) => failed
                .push(json!({"worker": worker.url.as_str(), "status": status.as_u16(),
                "error": String::from_utf8_lossy(&body).trim()})),
            Err(error) => failed.push(json!({"worker": worker.url.as_str(), "error": error.to_string()})),
        }
    }
    let status = if failed.is_empty() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    json(status, &json!({"flushed": flushed, "failed": failed}))
}
