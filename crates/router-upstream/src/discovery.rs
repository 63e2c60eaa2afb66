//! Asks a worker what it is: its model, its limits, its engine. What it does not say stays unknown.

use crate::client::get;
use crate::pool::WorkerPool;
use crate::worker::Worker;
use http::uri::PathAndQuery;
use router_config::Engine;
use router_protocol::{ServerInfo, parse_server_info};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info};

/// A worker that takes longer is asked again at its next check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where SGLang tells of itself: the name since 0.5.6, and the one before.
const SERVER_INFO: [&str; 2] = ["/server_info", "/get_server_info"];

/// Where every OpenAI-compatible server tells its models, and SGLang and vLLM who wrote them.
const MODELS: &str = "/v1/models";

/// Asks, and makes known what came of it. Tells whether anything did.
pub(crate) async fn discover(pool: &Arc<WorkerPool>, worker: &Arc<Worker>) -> bool {
    let mut found = None;
    let mut engine = None;
    for path in SERVER_INFO {
        if let Some(info) = ask(worker, path).await {
            found = Some(info);
            engine = Some(Engine::Sglang);
            break;
        }
    }
    if found.as_ref().is_none_or(|f| f.model.is_none())
        && let Some(models) = ask(worker, MODELS).await
    {
        engine = engine.or(match models.owned_by.as_deref() {
            Some("sglang") => Some(Engine::Sglang),
            Some("vllm") => Some(Engine::Vllm),
            _ => None,
        });
        found = Some(found.map_or(models.clone(), |f| with_models(f, models)));
    }
    let Some(told) = found else { return false };
    info!(worker = %worker.url, model = told.model, version = told.version, ?engine, "worker told what it is");
    worker.profile.rcu(|old| {
        let mut profile = crate::profile::Profile::clone(old);
        profile.told = told.clone();
        profile.guessed = engine;
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

async fn ask(worker: &Worker, path: &'static str) -> Option<ServerInfo> {
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
