//! Questions and wishes to the workers: models, information, loads, caches, aborts.

use super::{TIMEOUT, json};
use crate::error::ProxyError;
use crate::headers::WORKER;
use crate::response::{RouterBody, error_response, json_response};
use crate::state::AppState;
use bytes::Bytes;
use futures_util::future::join_all;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use router_upstream::{ClientError, HealthState, Worker, abort_with, get};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// Largest wish to abort something.
const MAX_BODY: usize = 1 << 20;

pub(super) fn loads(state: &AppState) -> Response<RouterBody> {
    let loads = state.pools().flat_map(|pool| pool.worker_loads()).map(|g| {
        json!({"worker": &*g.worker.telemetry.name, "load": g.in_flight, "waiting": g.waiting,
               "health": g.worker.health().as_str()})
    });
    json(StatusCode::OK, &json!({"workers": loads.collect::<Vec<_>>()}))
}

/// The union of what the healthy workers serve, each model once.
pub(super) async fn models(state: &Arc<AppState>) -> Response<RouterBody> {
    let workers = healthy(state);
    if workers.is_empty() {
        return error_response(&ProxyError::no_worker(&state.pool));
    }
    let path = PathAndQuery::from_static("/v1/models");
    let answers = join_all(workers.iter().map(|w| get(w, &path, TIMEOUT))).await;
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
        Some(cause) if models.is_empty() => error_response(&ProxyError::Disconnected(cause)),
        _ => json(StatusCode::OK, &json!({"object": "list", "data": models})),
    }
}

/// Puts the question to healthy workers in turn until one answers; `other` is the path of other server versions.
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
        None => error_response(&ProxyError::no_worker(&state.pool)),
    }
}

/// The workers that are well, each once however many ranks it has.
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

/// Asks every worker to forget its prefix cache; 200 only if all did.
pub(super) async fn flush_cache(state: &Arc<AppState>, request: Request<Incoming>) -> Response<RouterBody> {
    let headers = request.into_parts().0.headers;
    let workers: Vec<_> = state.pools().flat_map(|pool| pool.candidates.workers()).collect();
    let path = PathAndQuery::from_static("/flush_cache");
    let asks = workers
        .iter()
        .map(|w| router_upstream::request(w, &Method::POST, &path, &headers, Bytes::new(), TIMEOUT));
    let answers = join_all(asks).await;
    let (flushed, failed) = sort(&workers, answers);
    let status = if failed.is_empty() { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    json(status, &json!({"flushed": flushed, "failed": failed}))
}

/// Asks every worker to give up a request; 200 if any took the wish, as engines answer so to ids that they do not know.
pub(super) async fn abort(state: &Arc<AppState>, request: Request<Incoming>) -> Response<RouterBody> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let message = format!("the body could not be read: {error}");
            return super::refuse(StatusCode::BAD_REQUEST, &message, "unreadable_body");
        }
    };
    let headers = parts.headers;
    let workers: Vec<_> = state.pools().flat_map(|pool| pool.candidates.workers()).collect();
    let asks = workers.iter().map(|w| abort_with(w, headers.clone(), body.clone()));
    let answers = join_all(asks).await;
    let (asked, failed) = sort(&workers, answers);
    let status = if asked.is_empty() { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    json(status, &json!({"asked": asked, "failed": failed}))
}

/// The workers that did as asked, and what the others said.
fn sort(
    workers: &[Arc<Worker>],
    answers: Vec<Result<(StatusCode, Bytes), ClientError>>,
) -> (Vec<String>, Vec<Value>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (worker, answer) in workers.iter().zip(answers) {
        let url = worker.url.as_str();
        match answer {
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
