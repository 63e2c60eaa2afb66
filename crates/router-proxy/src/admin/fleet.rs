//! Routes that ask one or all workers: models, information, loads, caches, aborts.

use super::body;
use super::reply::{json, refuse};
use crate::error::ProxyError;
use crate::headers::WORKER;
use crate::response::{RouterBody, error_response, json_response};
use crate::state::AppState;
use bytes::Bytes;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use router_core::Route;
use router_upstream::{ClientError, HealthState, Worker, abort_with};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of a request to a worker that the router sends for an admin route; then the worker is left out.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn loads(state: &AppState) -> Response<RouterBody> {
    let loads = state.pools().flat_map(|pool| pool.worker_loads()).map(|g| {
        json!({"worker": &*g.worker.telemetry.name, "load": g.in_flight, "waiting": g.waiting,
               "health": g.worker.health().as_str()})
    });
    json(StatusCode::OK, &json!({"workers": loads.collect::<Vec<_>>()}))
}

/// The models of all healthy workers, each once. A worker without a key of its own gets the client's.
pub(super) async fn models(state: &Arc<AppState>, request: &Request<Incoming>) -> Response<RouterBody> {
    let workers = healthy(state);
    if workers.is_empty() {
        return error_response(&ProxyError::no_worker(&state.pool), Route::Other);
    }
    let path = PathAndQuery::from_static("/v1/models");
    let key = authorization(request.headers());
    let ask = |w| router_upstream::request(w, &Method::GET, &path, &key, Bytes::new(), TIMEOUT);
    let responses = join_all(workers.iter().map(|w| ask(w))).await;
    let mut seen = HashSet::new();
    let mut models = Vec::new();
    let mut failure = None;
    for (worker, response) in workers.iter().zip(responses) {
        let body = match response {
            Ok((status, body)) if status.is_success() => body,
            Ok((status, body)) => {
                failure = Some(from_worker(worker, status, body));
                continue;
            }
            Err(error) => {
                failure.get_or_insert_with(|| {
                    error_response(&ProxyError::Disconnected(error.into()), Route::Other)
                });
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
        Some(response) if models.is_empty() => response,
        _ => json(StatusCode::OK, &json!({"object": "list", "data": models})),
    }
}

/// Asks healthy workers one after the other until one responds; `other` is the path in other engine versions.
pub(super) async fn info(
    state: &Arc<AppState>,
    request: Request<Incoming>,
    other: &'static str,
) -> Response<RouterBody> {
    let asked = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let headers = request.into_parts().0.headers;
    let mut failure = None;
    for worker in healthy(state) {
        for path in [&asked, &PathAndQuery::from_static(other)] {
            match router_upstream::request(&worker, &Method::GET, path, &headers, Bytes::new(), TIMEOUT).await
            {
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
        None => error_response(&ProxyError::no_worker(&state.pool), Route::Other),
    }
}

/// The key of a request, as headers of the requests that the router makes for it.
fn authorization(headers: &HeaderMap) -> HeaderMap {
    let key = headers.get(header::AUTHORIZATION).cloned();
    key.map(|key| (header::AUTHORIZATION, key)).into_iter().collect()
}

/// The healthy workers; one with several ranks is one worker.
fn healthy(state: &AppState) -> Vec<Arc<Worker>> {
    state.pool.candidates.workers().into_iter().filter(|w| w.health() == HealthState::Healthy).collect()
}

fn from_worker(worker: &Worker, status: StatusCode, body: Bytes) -> Response<RouterBody> {
    let mut response = json_response(status, body);
    if let Ok(name) = HeaderValue::from_str(worker.url.as_str()) {
        response.headers_mut().insert(WORKER, name);
    }
    response
}

/// Flushes the prefix cache of every worker. As in sglang-router, the status is 200 if all succeeded, and 206 otherwise.
pub(super) async fn flush_cache(state: &Arc<AppState>, request: Request<Incoming>) -> Response<RouterBody> {
    let headers = request.into_parts().0.headers;
    let workers: Vec<_> = state.pools().flat_map(|pool| pool.candidates.workers()).collect();
    let path = PathAndQuery::from_static("/flush_cache");
    let asks = workers
        .iter()
        .map(|w| router_upstream::request(w, &Method::POST, &path, &headers, Bytes::new(), TIMEOUT));
    let responses = join_all(asks).await;
    let (flushed, failed) = split_outcomes(&workers, responses);
    let counts = json!({"workers_flushed": flushed.len(), "total_http_workers": workers.len(),
        "total_workers": workers.len(), "successful": flushed, "flushed": flushed, "failed": failed});
    let (status, outcome, message) = if failed.is_empty() {
        (StatusCode::OK, "success", format!("flushed the cache of all {} workers", workers.len()))
    } else {
        let message = format!("flushed the cache of {} workers; {} failed", flushed.len(), failed.len());
        (StatusCode::PARTIAL_CONTENT, "partial_success", message)
    };
    let mut body = json!({"status": outcome, "message": message});
    if let (Some(body), Value::Object(counts)) = (body.as_object_mut(), counts) {
        body.extend(counts);
    }
    json(status, &body)
}

/// Asks every worker to abort a request; 200 if any worker accepts, because engines also accept ids they do not know.
pub(super) async fn abort(state: &Arc<AppState>, request: Request<Incoming>) -> Response<RouterBody> {
    let (parts, body) = request.into_parts();
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(error) => {
            let message = format!("the body could not be read: {error}");
            return refuse(StatusCode::BAD_REQUEST, &message, "unreadable_body");
        }
    };
    let headers = parts.headers;
    let workers: Vec<_> = state.pools().flat_map(|pool| pool.candidates.workers()).collect();
    let asks = workers.iter().map(|w| abort_with(w, headers.clone(), body.clone()));
    let responses = join_all(asks).await;
    let (asked, failed) = split_outcomes(&workers, responses);
    let status = if asked.is_empty() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    json(status, &json!({"asked": asked, "failed": failed}))
}

/// The URLs of the workers that succeeded, and the errors of the others.
fn split_outcomes(
    workers: &[Arc<Worker>],
    responses: Vec<Result<(StatusCode, Bytes), ClientError>>,
) -> (Vec<String>, Vec<Value>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (worker, response) in workers.iter().zip(responses) {
        let url = worker.url.as_str();
        match response {
            Ok((status, _)) if status.is_success() => done.push(url.to_owned()),
            Ok((status, body)) => {
                let error = String::from_utf8_lossy(&body);
                failed.push(json!({"worker": url, "status": status.as_u16(), "error": error.trim()}));
            }
            Err(error) => failed.push(json!({"worker": url, "error": error.to_string()})),
        }
    }
    (done, failed)
}
