//! The worker that a request names.

use crate::state::AppState;
use router_config::{WorkerUrl, WorkerUrlError};
use router_upstream::{Candidate, HealthState, WorkerPool};
use std::sync::Arc;

/// The worker of an id, or of a URL.
pub(super) fn named(state: &AppState, wanted: &str) -> Option<Arc<Candidate>> {
    let by_id = state.pools().find_map(|p| p.candidates.all().into_iter().find(|w| p.public_id(w) == wanted));
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

/// The pool to which a worker belongs.
pub(super) fn home(state: &AppState, worker: &Arc<Candidate>) -> Arc<WorkerPool> {
    state.pools().find(|pool| pool.has(worker)).unwrap_or_else(|| Arc::clone(&state.main))
}
