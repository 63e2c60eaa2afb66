//! Discovers the model, the limits and the engine of a worker from its endpoints. What it does not report stays unknown.

use crate::client::get;
use crate::engine::SERVER_INFO;
use crate::fleet_log::FleetEvent;
use crate::pool::WorkerPool;
use crate::pool_model::Place;
use crate::weight_tracking::SeenServer;
use crate::worker::Worker;
use bytes::Bytes;
use http::uri::PathAndQuery;
use router_config::Engine;
use router_protocol::{ServerInfo, parse_server_info, parse_server_metrics};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// After this, the request is repeated with the next health check.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The models of an OpenAI-compatible server; engines name themselves as the owner.
const MODELS: &str = "/v1/models";

/// Where vLLM tells the size of its cache and when it was started.
const METRICS: &str = "/metrics";

/// What a worker said when it was asked what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discovery {
    /// Nothing.
    Nothing,
    /// What it said before.
    Same,
    /// Something new.
    Changed,
    /// That it serves another model than its pool: it gets no requests here.
    Misplaced,
}

/// Discovers the properties of a worker and applies them. When they are those of another server than before, its
/// candidates are replaced, so that nothing learned of the old one stays.
pub(crate) async fn discover(pool: &Arc<WorkerPool>, worker: &Arc<Worker>) -> Discovery {
    let updates = worker.accepted_updates();
    let Some((reported, engine)) = ask(worker, pool.model.matters()).await else {
        pool.place(worker, false);
        return Discovery::Nothing;
    };
    let old = worker.profile.load_full();
    let is_replaced = reported.is_of_another_server(&old.reported)
        || matches!((engine, old.detected_engine), (Some(new), Some(old)) if new != old);
    // One server's answers complete each other: an endpoint may have failed this time.
    let (reported, engine) = if is_replaced {
        (reported, engine)
    } else {
        (reported.completed_by(&old.reported), engine.or(old.detected_engine))
    };
    let is_restarted = !is_replaced && reported.is_restart_of(&old.reported);
    let server = if is_replaced { SeenServer::Another } else { SeenServer::Same };
    if reported == old.reported && engine == old.detected_engine {
        worker.compare_weights(pool, server);
        return match pool.place(worker, false) {
            Place::Here => Discovery::Same,
            Place::Elsewhere => Discovery::Misplaced,
        };
    }
    let was = old.reported.model.as_deref();
    let (model, version, engine_name) =
        (reported.model.as_deref(), reported.version.as_deref(), engine.map(Engine::as_str));
    if is_replaced {
        warn!(worker = %worker.url, was, model, version, engine = engine_name, "another server has taken the worker's \
            address: what was learned of the old one is forgotten");
    } else if pool.log.has_own_line(FleetEvent::Reported, model) {
        info!(worker = %worker.url, model, version, engine = engine_name, "worker reported what it is");
    } else {
        debug!(worker = %worker.url, model, version, engine = engine_name, "worker reported what it is");
    }
    let is_outdated = worker.accepted_updates() != updates;
    worker.profile.rcu(|old| {
        let mut reported = reported.clone();
        if is_outdated {
            // It had not been updated yet when it was asked.
            reported.weight_version.clone_from(&old.reported.weight_version);
        }
        old.with_reported(reported, engine)
    });
    if pool.place(worker, true) == Place::Elsewhere {
        return Discovery::Misplaced;
    }
    if is_replaced || reported.grpc_port != old.reported.grpc_port {
        worker.use_grpc_port(reported.grpc_port);
    }
    if is_replaced {
        pool.replace_candidates(worker);
    } else {
        pool.reconcile_ranks(worker);
    }
    if is_restarted {
        debug!(worker = %worker.url, "the server was restarted");
        pool.cache_emptied(worker);
    }
    pool.publish_capacity(worker);
    worker.compare_weights(pool, server);
    Discovery::Changed
}

/// Asks a worker for its models alone, which costs it next to nothing, before it gets requests. Returns whether it belongs to the
/// pool.
pub(crate) async fn find_place(pool: &Arc<WorkerPool>, worker: &Arc<Worker>) -> Place {
    let Some(models) = request_info(worker, MODELS).await.filter(|info| !info.models.is_empty()) else {
        // Some servers tell their model elsewhere.
        return match discover(pool, worker).await {
            Discovery::Misplaced => Place::Elsewhere,
            Discovery::Nothing | Discovery::Same | Discovery::Changed => Place::Here,
        };
    };
    let is_new = worker.profile.load().reported.models != models.models;
    if is_new {
        worker.profile.rcu(|old| old.with_listed(&models.models));
    }
    pool.place(worker, is_new)
}

/// Asks a worker what it is, and of what engine; for the list of its models only where that matters, or where nothing else tells its
/// model.
async fn ask(worker: &Worker, lists_models: bool) -> Option<(ServerInfo, Option<Engine>)> {
    let mut found = None;
    let mut engine = None;
    for (path, its_engine) in SERVER_INFO {
        if let Some(info) = request_info(worker, path).await {
            found = Some(info);
            engine = Some(its_engine);
            break;
        }
    }
    if (lists_models || found.as_ref().is_none_or(|f| f.model.is_none()))
        && let Some(models) = request_info(worker, MODELS).await
    {
        let owner = models.owned_by.as_deref();
        engine = engine.or_else(|| Engine::ALL.into_iter().find(|engine| owner == Some(engine.as_str())));
        found = Some(found.map_or(models.clone(), |f| with_models(f, models)));
    }
    let info = found?;
    let metrics = if engine == Some(Engine::Vllm) { request_metrics(worker).await } else { None };
    Some((metrics.unwrap_or_default().completed_by(&info), engine))
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
    parse_server_info(&request(worker, path).await?)
}

async fn request_metrics(worker: &Worker) -> Option<ServerInfo> {
    request(worker, METRICS).await.map(|body| parse_server_metrics(&body))
}

/// The body at `path`, if the worker has one there.
async fn request(worker: &Worker, path: &'static str) -> Option<Bytes> {
    match get(worker, &PathAndQuery::from_static(path), TIMEOUT).await {
        Ok((status, body)) if status.is_success() => Some(body),
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
