//! `/v1/traces`: decisions and outcomes of recent requests.

use super::body;
use super::reply::json;
use crate::response::{RouterBody, json_response};
use crate::state::AppState;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use router_telemetry::{TraceQuery, TraceStatus, TraceStore};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Maximum traces in one response.
const MAX_LIMIT: usize = 1000;

/// Traces in one response without a `limit`.
const DEFAULT_LIMIT: usize = 100;

/// A route of the traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TraceEndpoint {
    List,
    Stats,
    Batch,
    One,
}

impl TraceEndpoint {
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        match (method, path) {
            (&Method::GET, "/v1/traces") => Some(Self::List),
            (&Method::GET, "/v1/traces/stats") => Some(Self::Stats),
            (&Method::POST, "/v1/traces/batch") => Some(Self::Batch),
            (&Method::GET, _) => {
                path.strip_prefix("/v1/traces/").filter(|id| !id.is_empty()).map(|_| Self::One)
            }
            _ => None,
        }
    }
}

/// Why a request for traces is invalid.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("limit '{0}' is not a number from 1 to 1000")]
    Limit(String),
    #[error("status '{0}' is none of routed, processing, completed, failed")]
    Status(String),
    #[error("unknown query parameter '{0}'; known are limit, node_id and status")]
    Parameter(String),
    #[error("the body must be {{\"request_ids\": [\"...\"]}}: {0}")]
    Body(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ids {
    request_ids: Vec<String>,
}

/// Serves a request for traces.
pub(super) async fn answer(
    state: &Arc<AppState>,
    which: TraceEndpoint,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let Some((recorder, traces)) =
        state.main.telemetry.recorder.as_ref().and_then(|r| Some((r, r.traces.as_ref()?)))
    else {
        let message = "request tracking is off; start the router with --enable-tracking";
        let body = router_protocol::error_body(message, "not_implemented", "tracking_disabled");
        return json_response(StatusCode::NOT_IMPLEMENTED, body);
    };
    // Events before this request must be in its response.
    recorder.sync().await;
    let policy = &state.main.telemetry.metrics.policy();
    let result = match which {
        TraceEndpoint::Stats => Ok(json(StatusCode::OK, &traces.stats())),
        TraceEndpoint::List => query(request.uri().query().unwrap_or("")).map(|query| {
            let list = traces.list(policy, &query);
            json(StatusCode::OK, &json!({"count": list.len(), "traces": list}))
        }),
        TraceEndpoint::One => Ok(one(policy, traces, request.uri().path())),
        TraceEndpoint::Batch => batch(policy, traces, request).await,
    };
    result.unwrap_or_else(|error| {
        let body = router_protocol::error_body(&error.to_string(), "invalid_request_error", "invalid_query");
        json_response(StatusCode::BAD_REQUEST, body)
    })
}

fn one(policy: &str, traces: &TraceStore, path: &str) -> Response<RouterBody> {
    let id = path.strip_prefix("/v1/traces/").unwrap_or(path);
    let id = percent_decode(id);
    match traces.get(policy, &id) {
        Some(trace) => json(StatusCode::OK, &trace),
        None => {
            let message = format!("no trace of request '{id}'; it may be too old");
            let body = router_protocol::error_body(&message, "invalid_request_error", "trace_not_found");
            json_response(StatusCode::NOT_FOUND, body)
        }
    }
}

async fn batch(
    policy: &str,
    traces: &TraceStore,
    request: Request<Incoming>,
) -> Result<Response<RouterBody>, QueryError> {
    let body = body::read(request.into_body()).await.map_err(|e| QueryError::Body(e.to_string()))?;
    let ids: Ids = serde_json::from_slice(&body).map_err(|e| QueryError::Body(e.to_string()))?;
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for id in ids.request_ids {
        match traces.get(policy, &id) {
            Some(trace) => found.push(trace),
            None => missing.push(id),
        }
    }
    Ok(json(StatusCode::OK, &json!({"count": found.len(), "traces": found, "not_found": missing})))
}

fn query(text: &str) -> Result<TraceQuery, QueryError> {
    let mut query = TraceQuery { limit: DEFAULT_LIMIT, worker: None, status: None };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "limit" => {
                let limit = value.parse().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
                query.limit = limit.ok_or_else(|| QueryError::Limit(value.into_owned()))?;
            }
            "node_id" | "worker" => query.worker = Some(value.into_owned()),
            "status" => {
                let status = TraceStatus::ALL.into_iter().find(|s| s.as_str() == value);
                query.status = Some(status.ok_or_else(|| QueryError::Status(value.into_owned()))?);
            }
            _ => return Err(QueryError::Parameter(name.into_owned())),
        }
    }
    Ok(query)
}

/// An id in a path may be percent-encoded.
fn percent_decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
