//! `/v1/config`: the configuration, and changes of it.

use super::body;
use super::reply::{json, refuse};
use crate::config_change::{self, DryRun};
use crate::response::RouterBody;
use crate::state::AppState;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use router_config::ChangeError;
use serde_json::{Value, json};
use std::sync::Arc;

/// A route of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConfigEndpoint {
    /// Every option.
    Show,
    /// Changes options.
    Patch,
}

impl ConfigEndpoint {
    pub(super) fn of(method: &Method) -> Option<Self> {
        match *method {
            Method::GET | Method::HEAD => Some(Self::Show),
            Method::PATCH => Some(Self::Patch),
            _ => None,
        }
    }
}

/// Serves a request about the configuration.
pub(super) async fn answer(
    state: &Arc<AppState>,
    which: ConfigEndpoint,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    match which {
        ConfigEndpoint::Show => json(StatusCode::OK, &state.config.describe()),
        ConfigEndpoint::Patch => patch(state, request).await.unwrap_or_else(|refused| refused),
    }
}

async fn patch(
    state: &Arc<AppState>,
    request: Request<Incoming>,
) -> Result<Response<RouterBody>, Response<RouterBody>> {
    let invalid = |message: &str| refuse(StatusCode::BAD_REQUEST, message, "invalid_config");
    let dry_run = dry_run(request.uri().query().unwrap_or("")).map_err(|problem| invalid(&problem))?;
    let body = body::read(request.into_body()).await;
    let body = body.map_err(|error| invalid(&format!("the body could not be read: {error}")))?;
    let patch = serde_json::from_slice::<Value>(&body);
    let patch = patch.map_err(|error| refused(&ChangeError::NotAnObject(error.to_string())))?;
    let (state, runtime) = (Arc::clone(state), tokio::runtime::Handle::current());
    // A new policy learns from thousands of requests, which takes some milliseconds.
    let change = move || {
        let _runtime = runtime.enter();
        config_change::patch(&state, &patch, dry_run)
    };
    match tokio::task::spawn_blocking(change).await {
        Ok(Ok(outcome)) => Ok(json(StatusCode::OK, &outcome)),
        Ok(Err(error)) => Err(refused(&error)),
        Err(error) => Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "internal_error")),
    }
}

/// Whether the query asks what a change would do.
fn dry_run(query: &str) -> Result<DryRun, String> {
    let mut dry_run = DryRun::No;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        dry_run = match (&*name, &*value) {
            ("dry_run", "true" | "1" | "") => DryRun::Yes,
            ("dry_run", "false" | "0") => DryRun::No,
            ("dry_run", _) => return Err("dry_run: must be true or false".to_owned()),
            (name, _) => return Err(format!("{name}: there is no such parameter; the only one is dry_run")),
        };
    }
    Ok(dry_run)
}

/// The response to a change that is refused. It names the options at fault.
fn refused(error: &ChangeError) -> Response<RouterBody> {
    let code = match error {
        ChangeError::Fixed(_) => "needs_restart",
        ChangeError::Unknown { .. } => "unknown_option",
        ChangeError::NotAnObject(_) | ChangeError::Value { .. } | ChangeError::Config(_) => "invalid_config",
    };
    let fixed = match error {
        ChangeError::Fixed(options) => &options[..],
        _ => &[],
    };
    let fixed: Vec<_> = fixed.iter().map(|o| json!({"key": o.key, "reason": o.reason})).collect();
    json(
        StatusCode::BAD_REQUEST,
        &json!({"error": {"message": error.to_string(), "type": "invalid_request_error", "code": code,
            "options": error.keys(), "needs_restart": fixed}}),
    )
}
