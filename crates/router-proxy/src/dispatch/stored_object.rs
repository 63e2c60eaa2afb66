//! Requests that refer to what one worker holds: a stored response, or a conversation.

use super::excluded_workers::ExcludedWorkers;
use router_core::Route;
use router_protocol::RequestFacts;
use router_upstream::{StoredObjects, Worker, WorkerPool};
use std::sync::Arc;

/// Paths under which an engine keeps objects by their ids.
const COLLECTIONS: [&str; 2] = ["/v1/responses/", "/v1/conversations/"];

/// The workers that a request must not go to because another one holds what it refers to. None, where nothing is known of
/// that: the worker then says so itself.
pub(crate) fn elsewhere(
    pool: &WorkerPool,
    route: Route,
    path: &str,
    facts: &RequestFacts<'_>,
) -> ExcludedWorkers {
    match holder(&pool.stored, route, path, facts) {
        Some(holder) => ExcludedWorkers::all_but(&holder, &pool.candidates),
        None => ExcludedWorkers::default(),
    }
}

/// Whether a request refers to something that a worker holds.
pub(crate) fn may_be_held(route: Route, path: &str, facts: &RequestFacts<'_>) -> bool {
    match route {
        Route::Responses => facts.previous_response.is_some() || facts.conversation.is_some(),
        Route::Other => id_in_path(path).is_some(),
        _ => false,
    }
}

/// Whether a worker of the pool holds what a request refers to.
pub(crate) fn is_held(pool: &WorkerPool, route: Route, path: &str, facts: &RequestFacts<'_>) -> bool {
    holder(&pool.stored, route, path, facts).is_some()
}

fn holder(stored: &StoredObjects, route: Route, path: &str, facts: &RequestFacts<'_>) -> Option<Arc<Worker>> {
    match route {
        Route::Responses => [&facts.previous_response, &facts.conversation]
            .into_iter()
            .find_map(|id| stored.holder(id.as_deref()?)),
        Route::Other => stored.holder(id_in_path(path)?),
        _ => None,
    }
}

/// The id of `/v1/responses/ID` and of what is below it.
fn id_in_path(path: &str) -> Option<&str> {
    let rest = COLLECTIONS.iter().find_map(|collection| path.strip_prefix(collection))?;
    rest.split('/').next().filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_behind_their_collection() {
        assert_eq!(id_in_path("/v1/responses/resp_1"), Some("resp_1"));
        assert_eq!(id_in_path("/v1/responses/resp_1/input_items"), Some("resp_1"));
        assert_eq!(id_in_path("/v1/conversations/conv_1/items"), Some("conv_1"));
        assert_eq!(id_in_path("/v1/responses/"), None);
        assert_eq!(id_in_path("/v1/models/resp_1"), None);
    }
}
