//! Control calls of engines: each goes to all workers, or to those that the query names, and has one response.

use super::control_call::{CallEffect, ControlCall};
use super::recipients::Recipients;
use super::reply::{json, refuse};
use super::weight_group;
use super::worker_answer::{WorkerAnswer, WorkerQuestion};
use crate::error::ProxyError;
use crate::request_body;
use crate::response::{RouterBody, error_response};
use crate::state::AppState;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use router_core::Route;
use router_telemetry::ControlOutcome;
use router_upstream::{FleetWeights, UpdateScope, WeightUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tracing::info;

/// Sends a control call, and says what became of it on each worker.
///
/// It goes on when the client does not wait for the response: a weight update that has begun ends on the workers, and the router
/// must know how.
pub(super) async fn answer(
    state: &Arc<AppState>,
    call: ControlCall,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let (parts, body) = request.into_parts();
    let body = match request_body::read(state, body, parts.version).await {
        Ok(body) => body,
        Err(error) => return error_response(&error, Route::Other),
    };
    let recipients = match Recipients::of(state, &parts.uri) {
        Ok(recipients) if recipients.workers.is_empty() => {
            return error_response(&ProxyError::no_worker(&state.main), Route::Other);
        }
        Ok(recipients) => recipients,
        Err(error) => return error.response(),
    };
    if recipients.may_differ && is_of_one_model(call) {
        return error_response(&ProxyError::ModelUnnamed, Route::Other);
    }
    let bodies = if call.effect == CallEffect::Group {
        weight_group::bodies(&body, &recipients.workers)
    } else {
        Ok(vec![body.clone(); recipients.workers.len()])
    };
    let bodies = match bodies {
        Ok(bodies) => bodies,
        Err(error) => return refuse(StatusCode::CONFLICT, &error.to_string(), "unknown_rank_offset"),
    };
    let timeout = state.main.control_timeout();
    let question = WorkerQuestion { method: parts.method, headers: parts.headers, bodies, timeout };
    if call.effect == CallEffect::Round {
        recipients.workers.iter().for_each(|recipient| recipient.pool.weights.begin_round());
    }
    // Workers of several models get no update at once.
    let weights = recipients.workers.first().map(|recipient| Arc::clone(&recipient.pool.weights));
    let update = weights.and_then(|weights| update_of(call, &weights, &body));
    let shared = Arc::clone(state);
    let run = async move {
        let answers = question.ask(&recipients).await;
        conclude(&shared, call, update, recipients.is_whole_fleet, &answers)
    };
    let stopping = state.main.stopping.clone();
    let run = async move { stopping.run_until_cancelled(run).await };
    match state.main.tasks.spawn(run).await {
        Ok(Some(response)) => response,
        Ok(None) | Err(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "the router was stopped before all workers answered",
            "router_stopped",
        ),
    }
}

/// Whether a call makes sense for the workers of one model alone.
const fn is_of_one_model(call: ControlCall) -> bool {
    match call.effect {
        CallEffect::Update(_) | CallEffect::Start | CallEffect::Group | CallEffect::Adapters => true,
        CallEffect::None | CallEffect::EmptiesCache | CallEffect::Function | CallEffect::Round => false,
    }
}

/// The weight update that a call is, if it is one.
fn update_of(call: ControlCall, weights: &FleetWeights, body: &[u8]) -> Option<WeightUpdate> {
    #[derive(Default, Deserialize)]
    struct Versions {
        weight_version: Option<String>,
        new_version: Option<String>,
        method: Option<String>,
    }
    let named = serde_json::from_slice::<Versions>(body).unwrap_or_default();
    let scope = match call.effect {
        CallEffect::Update(scope) => scope,
        CallEffect::Function if named.method.is_some_and(|name| name.contains("weight")) => UpdateScope::Part,
        CallEffect::Start => {
            weights.begin_round();
            UpdateScope::Part
        }
        CallEffect::None
        | CallEffect::Round
        | CallEffect::Adapters
        | CallEffect::EmptiesCache
        | CallEffect::Function
        | CallEffect::Group => {
            return None;
        }
    };
    Some(weights.update(call.path, scope, named.weight_version.or(named.new_version).as_deref()))
}

/// Notes what the workers answered, and makes the response of it.
fn conclude(
    state: &AppState,
    call: ControlCall,
    update: Option<WeightUpdate>,
    is_whole_fleet: bool,
    answers: &[WorkerAnswer],
) -> Response<RouterBody> {
    let failed: Vec<_> = answers.iter().filter_map(|a| Some((a, a.error()?))).collect();
    for answer in answers {
        let outcome = if answer.error().is_none() { ControlOutcome::Success } else { ControlOutcome::Failed };
        state.main.telemetry.metrics.control_call_ended(call.path, outcome);
    }
    info!(call = call.path, workers = answers.len(), failed = failed.len(), "control call ended");
    if call.effect == CallEffect::Adapters {
        answers.iter().for_each(|answer| answer.recipient.worker.ask_again());
    }
    if call.effect == CallEffect::EmptiesCache {
        answers.iter().for_each(WorkerAnswer::note_emptied_cache);
    }
    if let Some(update) = update {
        note_update(&update, is_whole_fleet, answers);
    }
    let succeeded = answers.len() - failed.len();
    let (status, outcome) = match (failed.as_slice(), succeeded) {
        ([], _) => (StatusCode::OK, "success"),
        (_, 0) => (common_status(answers).unwrap_or(StatusCode::BAD_GATEWAY), "failed"),
        _ => (StatusCode::BAD_GATEWAY, "partial_success"),
    };
    let mut message = format!("{} succeeded on {succeeded} of {} workers", call.path, answers.len());
    for (answer, error) in &failed {
        message.push_str(&format!("; {}: {error}", answer.url()));
    }
    let workers: Vec<Value> = answers.iter().map(WorkerAnswer::describe).collect();
    json(
        status,
        &json!({"success": failed.is_empty(), "status": outcome, "message": message, "call": call.path,
            "total_workers": answers.len(), "successful": succeeded, "failed": failed.len(), "workers": workers}),
    )
}

/// The status of all answers, if it is the same error: then the call is wrong, not the workers.
fn common_status(answers: &[WorkerAnswer]) -> Option<StatusCode> {
    let first = answers.first()?.status()?;
    let is_error = first.is_client_error() || first.is_server_error();
    (is_error && answers.iter().all(|a| a.status() == Some(first))).then_some(first)
}

/// Notes which workers have the new weights. When none accepted them, none has missed them.
fn note_update(update: &WeightUpdate, is_whole_fleet: bool, answers: &[WorkerAnswer]) {
    if answers.iter().all(|a| a.error().is_some()) {
        return;
    }
    if let Some(first) = answers.first().filter(|_| is_whole_fleet) {
        first.recipient.pool.weights.accepted(update);
    }
    for answer in answers {
        let (pool, worker) = (&answer.recipient.pool, &answer.recipient.worker);
        match answer.error() {
            None => worker.accepted_update(pool, update),
            Some(error) => worker.miss_update(pool, update, error),
        }
    }
}
