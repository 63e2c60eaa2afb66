//! Routes that ask one or all workers what they are: models, information, loads.

use super::reply::json;
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
use router_upstream::{HealthState, Worker};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of a request to a worker that the router sends for an admin route; then the worker is left out.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn loads(state: &AppState) -> Response<RouterBody> {
    let loads = state.pools().flat_map(|pool| pool.worker_loads()).map(|g| {
        json!({"worker": &*g.worker.telemetry.name, "load": g.in_flight, "waiting": g.waiting,
               "report_age_secs": g.report_age.map(|age| age.as_secs_f64()),
               "health": g.worker.health().as_str()})
    });
    json(StatusCode::OK, &json!({"workers": loads.collect::<Vec<_>>()}))
}

/// The models of all healthy workers, each once. A worker without a key of its own gets the client's.
pub(super) async fn models(state: &Arc<AppState>, request: &Request<Incoming>) -> Response<RouterBody> {
    let workers = healthy(state);
    if workers.is_empty() {
        return error_response(&ProxyError::no_worker(&state.main), Route::Other);
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
    for (alias, model) in state.models.aliases() {
        // An alias is an entry of its own, as OpenAI's clients look models up by their ids.
        if let Some(target) =
            models.iter().find(|entry| entry["id"] == *model).filter(|_| seen.insert(alias.to_owned()))
        {
            let mut entry = target.clone();
            entry["id"] = alias.into();
            models.push(entry);
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
        None => error_response(&ProxyError::no_worker(&state.main), Route::Other),
    }
}

/// The key of a request, as headers of the requests that the router makes for it.
fn authorization(headers: &HeaderMap) -> HeaderMap {
    let key = headers.get(header::AUTHORIZATION).cloned();
    key.map(|key| (header::AUTHORIZATION, key)).into_iter().collect()
}

/// The healthy workers; one with several ranks is one worker.
fn healthy(state: &AppState) -> Vec<Arc<Worker>> {
    let all = state.models.groups().into_iter().flat_map(|group| group.pool.candidates.workers());
    let mut urls = HashSet::new();
    all.filter(|w| w.health() == HealthState::Healthy && urls.insert(w.url.clone())).collect()
}

fn from_worker(worker: &Worker, status: StatusCode, body: Bytes) -> Response<RouterBody> {
    let mut response = json_response(status, body);
    if let Ok(name) = HeaderValue::from_str(worker.url.as_str()) {
        response.headers_mut().insert(WORKER, name);
    }
    response
}
