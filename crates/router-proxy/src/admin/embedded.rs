//! The admin routes for the program that embeds the router, without HTTP.

use super::named_worker::named;
use super::workers::{self, WorkersError};
use crate::state::AppState;
use router_config::WorkerSpec;
use serde_json::Value;
use std::sync::Arc;

/// Requests are not tracked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("request tracking is off: start the router with enable_tracking")]
pub struct TrackingDisabled;

/// The body of `GET /workers`.
pub(crate) fn workers(state: &Arc<AppState>) -> Value {
    workers::list(state)
}

/// Adds a worker; the body of the response to `POST /workers`.
pub(crate) fn add_worker(state: &Arc<AppState>, spec: &WorkerSpec) -> Result<Value, WorkersError> {
    workers::add(state, spec)
}

/// Begins to drain the worker of this id or URL; the body of the response to `DELETE /workers/{id}`.
pub(crate) fn remove_worker(state: &Arc<AppState>, worker: &str) -> Result<Value, WorkersError> {
    let found = named(state, worker).ok_or_else(|| WorkersError::Unknown(worker.to_owned()))?;
    Ok(workers::leave(state, &found))
}

/// The trace of a request, as `GET /v1/traces/{request_id}` has it.
pub(crate) async fn trace(state: &AppState, request_id: &str) -> Result<Option<Value>, TrackingDisabled> {
    let telemetry = &state.main.telemetry;
    let recorder = telemetry.recorder.as_ref().ok_or(TrackingDisabled)?;
    let traces = recorder.traces.as_ref().ok_or(TrackingDisabled)?;
    // Events before this call must be in its result.
    recorder.sync().await;
    Ok(traces.get(&telemetry.metrics.policy(), request_id))
}
