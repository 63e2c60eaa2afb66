//! `/v1/route`: which worker a request should go to, and how it went, for proxies that carry requests themselves.

use super::reply::json;
use crate::carried::RouteEnd;
use crate::error::ProxyError;
use crate::request_body;
use crate::response::{RouterBody, error_response};
use crate::routing::{
    DescribedRequest, PreviewScore, RouteBody, RouteError, RoutePreview, RouteRequest, RoutingService,
};
use crate::state::AppState;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use router_core::{Outcome, Route};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// Where the decision service is.
const PATH: &str = "/v1/route";

/// Fallbacks in an answer without `fallbacks`.
const DEFAULT_FALLBACKS: usize = 2;

/// Most fallbacks in an answer.
const MAX_FALLBACKS: usize = 16;

/// A route of the decision service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RouteEndpoint {
    /// A request wants a worker.
    Open,
    /// Something has become of a request.
    Event,
}

impl RouteEndpoint {
    pub(super) fn of(method: &Method, path: &str) -> Option<Self> {
        let rest = path.strip_prefix(PATH).filter(|_| *method == Method::POST)?;
        match rest.strip_prefix('/') {
            None => rest.is_empty().then_some(Self::Open),
            Some(token) => (!token.is_empty() && !token.contains('/')).then_some(Self::Event),
        }
    }
}

/// What has become of a request.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum RouteEvent {
    /// The first byte of its response has come.
    FirstToken {
        /// The URL of the worker that serves it; that of the answer when absent.
        worker: Option<String>,
    },
    /// Its response goes on.
    Progress {
        /// Events of the stream that have come.
        #[serde(default)]
        events: u32,
    },
    /// It has ended.
    Finished { status: Option<u16>, outcome: Option<ReportedOutcome>, worker: Option<String> },
}

/// How a request ended, as its caller says.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReportedOutcome {
    Success,
    Rejected,
    Busy,
    Failed,
    Cancelled,
}

impl From<ReportedOutcome> for Outcome {
    fn from(outcome: ReportedOutcome) -> Self {
        match outcome {
            ReportedOutcome::Success => Self::Success,
            ReportedOutcome::Rejected => Self::Rejected,
            ReportedOutcome::Busy => Self::Busy,
            ReportedOutcome::Failed => Self::Failed,
            ReportedOutcome::Cancelled => Self::Cancelled,
        }
    }
}

/// A body that describes a request in place of the request itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    features: DescribedRequest,
}

/// What the query of a request to `/v1/route` says.
#[derive(Debug)]
struct RouteQuery {
    path: Option<PathAndQuery>,
    fallbacks: usize,
    /// Only where the request would go is asked.
    is_dry_run: bool,
}

/// Serves a request to the decision service.
pub(super) async fn answer(
    state: &Arc<AppState>,
    which: RouteEndpoint,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let (head, body) = request.into_parts();
    let result = async {
        let body = request_body::read(state, body, head.version).await?;
        match which {
            RouteEndpoint::Open => open(state, head, body).await,
            RouteEndpoint::Event => tell(state, head.uri.path(), &body),
        }
    };
    result.await.unwrap_or_else(|error| error_response(&error, Route::Other))
}

/// Finds a worker for a request, and keeps the request open.
async fn open(
    state: &Arc<AppState>,
    mut head: Parts,
    body: Bytes,
) -> Result<Response<RouterBody>, ProxyError> {
    let query = query(head.uri.query().unwrap_or(""))?;
    let described = serde_json::from_slice::<Description>(&body);
    let path = query.path.or_else(|| path_of(&body)).or_else(|| described.is_ok().then_some(CHAT));
    let path = path.ok_or_else(|| {
        ProxyError::InvalidRoute(
            "the body does not tell its path: add ?path=/v1/..., or send features".to_owned(),
        )
    })?;
    head.uri = Uri::from(path);
    let body = described.map_or(RouteBody::Whole(body), |described| RouteBody::Described(described.features));
    let request = RouteRequest { head, body, subset: None, fallbacks: query.fallbacks };
    let service = RoutingService::new(Arc::clone(state));
    if query.is_dry_run {
        let preview = service.preview(request).await.map_err(RouteError::into_inner)?;
        return Ok(json(StatusCode::OK, &describe(&preview)));
    }
    let routed = service.route(request).await.map_err(RouteError::into_inner)?;
    let fallbacks: Vec<_> = routed.fallbacks().iter().map(|worker| worker.url.to_string()).collect();
    let text = |value: &http::HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    let headers = routed.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
    let mut answer = json!({
        "worker": routed.worker().map(|worker| worker.url.to_string()),
        "fallbacks": fallbacks,
        "reason": routed.reason(),
        "request_id": text(routed.id()),
        "headers": headers.collect::<Map<_, _>>(),
        "expires_in_secs": state.open_routes.timeout().as_secs_f64(),
    });
    answer["token"] = Value::from(&*state.open_routes.open(routed)?);
    Ok(json(StatusCode::OK, &answer))
}

/// Where a request would go, and what each candidate would cost.
fn describe(preview: &RoutePreview) -> Value {
    let score = |score: &PreviewScore| {
        let terms: Map<_, _> =
            score.terms.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({"worker": score.worker, "cost": score.cost, "terms": terms})
    };
    json!({
        "worker": preview.worker,
        "reason": preview.reason,
        "policy": preview.policy,
        "model": preview.model,
        "predicted_cached_tokens": preview.predicted_cached_tokens,
        "scores": preview.scores.iter().map(score).collect::<Vec<_>>(),
    })
}

/// Takes note of what has become of the request with the token in `path`.
fn tell(state: &AppState, path: &str, body: &[u8]) -> Result<Response<RouterBody>, ProxyError> {
    let token = path.strip_prefix(PATH).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let event = serde_json::from_slice(body).map_err(|error| {
        ProxyError::InvalidRoute(format!(
            "the body must be an event (first_token, progress, finished): {error}"
        ))
    })?;
    let routes = &state.open_routes;
    match event {
        RouteEvent::FirstToken { worker } => routes.tell(token, |request| {
            if let Some(worker) = worker {
                request.served_by(&worker);
            }
            request.first_byte();
        })?,
        RouteEvent::Progress { events } => routes.tell(token, |request| request.progress(events))?,
        RouteEvent::Finished { status, outcome, worker } => {
            let status = status.map(StatusCode::from_u16).transpose().map_err(|_| {
                ProxyError::InvalidRoute("status must be that of an HTTP response, 100 to 999".to_owned())
            })?;
            let mut request = routes.take(token)?;
            if let Some(worker) = worker {
                request.served_by(&worker);
            }
            // Token counts stand in the event as they do in a response.
            let facts = router_protocol::read_response(body);
            request.finish(RouteEnd::new(status, outcome.map(Outcome::from), facts));
        }
    }
    Ok(json(StatusCode::OK, &json!({"status": "ok"})))
}

const CHAT: PathAndQuery = PathAndQuery::from_static("/v1/chat/completions");

/// The path of a request that has no other place for it, by the members of its body; `None` where several paths have such
/// bodies.
fn path_of(body: &[u8]) -> Option<PathAndQuery> {
    let members: HashMap<&str, IgnoredAny> = serde_json::from_slice(body).ok()?;
    let has = |name: &str| members.contains_key(name);
    if has("messages") {
        return Some(CHAT);
    }
    if has("prompt") {
        return Some(PathAndQuery::from_static("/v1/completions"));
    }
    let is_generate = has("text") || has("input_ids") || has("input_embeds");
    is_generate.then_some(PathAndQuery::from_static("/generate"))
}

fn query(text: &str) -> Result<RouteQuery, ProxyError> {
    let mut query = RouteQuery { path: None, fallbacks: DEFAULT_FALLBACKS, is_dry_run: false };
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "path" => {
                let path = value.parse().ok().filter(|path: &PathAndQuery| path.as_str().starts_with('/'));
                query.path = Some(path.ok_or_else(|| {
                    ProxyError::InvalidRoute(format!("path '{value}' is not one such as /v1/completions"))
                })?);
            }
            "fallbacks" => {
                let wanted = value.parse().ok().filter(|n| *n <= MAX_FALLBACKS);
                query.fallbacks = wanted.ok_or_else(|| {
                    ProxyError::InvalidRoute(format!(
                        "fallbacks '{value}' is not a number from 0 to {MAX_FALLBACKS}"
                    ))
                })?;
            }
            "dry_run" => {
                query.is_dry_run = value.parse().map_err(|_| {
                    ProxyError::InvalidRoute(format!("dry_run '{value}' is neither true nor false"))
                })?;
            }
            _ => {
                let problem =
                    format!("unknown query parameter '{name}'; known are path, fallbacks and dry_run");
                return Err(ProxyError::InvalidRoute(problem));
            }
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_follows_the_members() {
        let path = |body: &str| path_of(body.as_bytes()).map(|path| path.to_string());
        assert_eq!(path(r#"{"messages":[]}"#).as_deref(), Some("/v1/chat/completions"));
        assert_eq!(path(r#"{"model":"m","prompt":"a"}"#).as_deref(), Some("/v1/completions"));
        assert_eq!(path(r#"{"input_ids":[1]}"#).as_deref(), Some("/generate"));
        assert_eq!(path(r#"{"input":"a"}"#), None, "embeddings and responses have it");
        assert_eq!(path("not json"), None);
    }

    #[test]
    fn routes_are_posts_below_their_path() {
        let of = |method: Method, path| RouteEndpoint::of(&method, path);
        assert_eq!(of(Method::POST, "/v1/route"), Some(RouteEndpoint::Open));
        assert_eq!(of(Method::POST, "/v1/route/abc"), Some(RouteEndpoint::Event));
        for (method, path) in [
            (Method::GET, "/v1/route"),
            (Method::POST, "/v1/router"),
            (Method::POST, "/v1/route/"),
            (Method::POST, "/v1/route/a/b"),
        ] {
            assert_eq!(of(method, path), None, "{path}");
        }
    }
}
