//! The worker that a request names.

use crate::state::AppState;
use router_config::{WorkerKind, WorkerUrl, WorkerUrlError};
use router_upstream::{Candidate, HealthState, WorkerPool};
use std::sync::Arc;

/// The worker of an id, or of a URL.
pub(super) fn named(state: &AppState, wanted: &str) -> Option<Arc<Candidate>> {
    let by_id = state.pools().flat_map(|p| p.candidates.all()).find(|w| id(w) == wanted);
    by_id.or_else(|| at(state, wanted).ok().flatten())
}

/// The worker at a URL, or the rank `URL@rank`, that is not leaving.
pub(super) fn at(state: &AppState, wanted: &str) -> Result<Option<Arc<Candidate>>, WorkerUrlError> {
    let stays = |w: &Arc<Candidate>| *w.telemetry.name == *wanted && w.health() != HealthState::Draining;
    if let Some(rank) = state.pools().flat_map(|p| p.candidates.all()).find(stays) {
        return Ok(Some(rank));
    }
    let url = wanted.parse::<WorkerUrl>()?;
    Ok(state.pools().find_map(|pool| pool.candidates.find_active(&url)))
}

/// The id of a worker. Where prefill and decode are apart, each side counts its own.
pub(super) fn id(worker: &Candidate) -> String {
    match worker.worker.profile.load().kind {
        WorkerKind::Prefill => format!("prefill-{}", worker.id),
        WorkerKind::Regular | WorkerKind::Decode => worker.id.to_string(),
    }
}

/// The balancer and workers to which a worker belongs.
pub(super) fn home<'a>(state: &'a Arc<AppState>, worker: &Candidate) -> &'a Arc<WorkerPool> {
    state.pool_of(worker.worker.profile.load().kind).unwrap_or(&state.pool)
}
