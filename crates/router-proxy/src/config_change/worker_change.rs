//! Which workers new options add, remove and alter. Workers that were added otherwise are left alone.

use crate::models::JoinError;
use crate::state::AppState;
use router_config::{ChangeError, ConnectionMode, WorkerSpec, WorkerUpdate, WorkerUrl};
use router_upstream::{Arrival, MembershipError};
use std::sync::Arc;

/// The key that is named when a worker is at fault.
const KEY: &str = "workers";

/// The workers that the options name, and what they differ in from those before.
#[derive(Debug, Default)]
pub(super) struct WorkerChange {
    joining: Vec<WorkerSpec>,
    leaving: Vec<WorkerUrl>,
    updates: Vec<(WorkerUrl, WorkerUpdate)>,
}

impl WorkerChange {
    /// The difference of two lists of workers.
    ///
    /// # Errors
    /// A worker differs in what cannot change while it is in the fleet.
    pub(super) fn between(
        before: &[WorkerSpec],
        after: &[WorkerSpec],
        mode: ConnectionMode,
    ) -> Result<Self, ChangeError> {
        let parsed = |spec: &WorkerSpec| {
            let url = spec.base_url(mode).map_err(|error| wrong(&spec.url, error))?;
            Ok::<_, ChangeError>((url, spec.clone()))
        };
        let before = before.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let after = after.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
        let mut change = Self::default();
        for (url, spec) in &after {
            match before.iter().find(|(known, _)| known == url) {
                None => change.joining.push(spec.clone()),
                Some((_, known)) if known == spec => {}
                Some((_, known)) => {
                    let update = known.update_to(spec).ok_or_else(|| {
                        wrong(url.as_str(), "only weight, priority, cost, labels, api_key and health checks can change; remove the worker and add it again for the rest")
                    })?;
                    change.updates.push((url.clone(), update));
                }
            }
        }
        let gone = before.into_iter().filter(|(url, _)| !after.iter().any(|(kept, _)| kept == url));
        change.leaving.extend(gone.map(|(url, _)| url));
        Ok(change)
    }

    /// Whether every worker that is to join could.
    pub(super) fn check(&self, state: &AppState) -> Result<(), ChangeError> {
        for spec in &self.joining {
            let checked = state.models.first().pool_of(spec.worker_type).map(|pool| pool.check(spec));
            match checked {
                // It was added by the API or by discovery, and takes what the options say.
                Some(Ok(()) | Err(MembershipError::Present(_))) => {}
                Some(Err(error)) => return Err(wrong(&spec.url, error)),
                None => return Err(wrong(&spec.url, "the router has no workers of this type")),
            }
        }
        Ok(())
    }

    /// Adds, alters and drains the workers. Returns what did not work although it was checked.
    pub(super) fn apply(self, state: &Arc<AppState>) -> Vec<String> {
        let mut problems = Vec::new();
        for spec in &self.joining {
            match state.models.join(spec, Arrival::default()) {
                Ok(_) => {}
                Err(JoinError::Membership(MembershipError::Present(url))) => {
                    let known = WorkerSpec { url: spec.url.clone(), ..WorkerSpec::default() };
                    if let Some(update) = known.update_to(spec) {
                        problems.extend(update_worker(state, &url, &update));
                    }
                }
                Err(error) => problems.push(format!("worker {} was not added: {error}", spec.url)),
            }
        }
        for (url, update) in &self.updates {
            problems.extend(update_worker(state, url, update));
        }
        for url in &self.leaving {
            state.models.begin_drain(url);
        }
        problems
    }
}

/// The worker counts in the group of each model that it serves.
fn update_worker(state: &AppState, url: &WorkerUrl, update: &WorkerUpdate) -> Option<String> {
    let members = state.models.members_at(url);
    let failed = members.iter().find_map(|(pool, member)| pool.update(&member.worker, update.clone()).err());
    match failed {
        Some(error) => Some(format!("worker {url} was not changed: {error}")),
        None if members.is_empty() => Some(format!("worker {url} is not in the fleet any more")),
        None => None,
    }
}

fn wrong(url: &str, problem: impl ToString) -> ChangeError {
    ChangeError::Value { key: KEY.to_owned(), problem: format!("worker '{url}': {}", problem.to_string()) }
}
