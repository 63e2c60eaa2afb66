//! Discovers the model, the limits and the engine of a worker from its endpoints. What it does not report stays unknown.

use crate::client::get;
use crate::engine::SERVER_INFO;
use crate::pool::WorkerPool;
use crate::worker::Worker;
use http::uri::PathAndQuery;
use router_config::Engine;
use router_protocol::{ServerInfo, parse_server_info};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info};

/// After this, the request is repeated with the next health check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The models of an OpenAI-compatible server; engines name themselves as the owner.
const MODELS: &str = "/v1/models";

/// Discovers the properties of a worker and applies them. Returns whether the worker reported any.
pub(crate) async fn discover(pool: &Arc<WorkerPool>, worker: &Arc<Worker>) -> bool {
    let mut found = None;
    let mut engine = None;
    for (path, its_engine) in SERVER_INFO {
        if let Some(info) = request_info(worker, path).await {
            found = Some(info);
            engine = Some(its_engine);
            break;
        }
    }
    if found.as_ref().is_none_or(|f| f.model.is_none())
        && let Some(models) = request_info(worker, MODELS).await
    {
        let owner = models.owned_by.as_deref();
        engine = engine.or_else(|| Engine::ALL.into_iter().find(|engine| owner == Some(engine.as_str())));
        found = Some(found.map_or(models.clone(), |f| with_models(f, models)));
    }
    let Some(reported) = found else { return false };
    info!(worker = %worker.url, model = reported.model, version = reported.version, engine = engine.map(Engine::as_str), "worker reported what it is");
    worker.profile.rcu(|old| {
        let mut profile = crate::profile::WorkerProfile::clone(old);
        profile.reported = reported.clone();
        profile.detected_engine = engine;
        profile
    });
    pool.reconcile_ranks(worker);
    pool.publish_capacity(worker);
    true
}

fn with_models(server: ServerInfo, models: ServerInfo) -> ServerInfo {
    ServerInfo {
        model: server.model.or(models.model),
        models: models.models,
        context_length: server.context_length.or(models.context_length),
        owned_by: models.owned_by,
        ..server
    }
}

async fn request_info(worker: &Worker, path: &'static str) -> Option<ServerInfo> {
    match get(worker, &PathAndQuery::from_static(path), TIMEOUT).await {
        Ok((status, body)) if status.is_success() => parse_server_info(&body),
        Ok((status, _)) => {
            debug!(worker = %worker.url, path, %status, "no information");
            None
        }
        Err(error) => {
            debug!(worker = %worker.url, path, %error, "no information");
            None
        }
    }
}
