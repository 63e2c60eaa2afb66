//! Requests that refer to what one worker holds: a stored response, or a conversation.

use super::request::ProxyRequest;
use super::retry::ExcludedWorkers;
use crate::headers::WORKER;
use crate::models::ServingGroup;
use crate::response::RouterBody;
use crate::state::AppState;
use http::Response;
use router_core::Route;
use router_protocol::RequestFacts;
use router_upstream::{Worker, WorkerPool};
use std::sync::Arc;

/// Paths under which an engine keeps objects by their ids.
const COLLECTIONS: [&str; 2] = ["/v1/responses/", "/v1/conversations/"];

/// The workers that a request must not go to because another one holds what it refers to. None, where nothing is known of
/// that: the worker then says so itself.
pub(super) fn elsewhere(request: &ProxyRequest<'_>, facts: &RequestFacts<'_>) -> ExcludedWorkers {
    match holder(request, facts) {
        Some(holder) => ExcludedWorkers::all_but(&holder, &request.pool.candidates),
        None => ExcludedWorkers::default(),
    }
}

/// Remembers which worker serves the conversation of a request, by the name of the worker in its response.
pub(super) fn remember_conversation(
    request: &ProxyRequest<'_>,
    facts: &RequestFacts<'_>,
    response: &Response<RouterBody>,
) {
    if let Some(conversation) = &facts.conversation
        && request.origin.route == Route::Responses
        && response.status().is_success()
        && let Some(name) = response.headers().get(WORKER)
        && let Some(candidate) = request.pool.candidates.all().into_iter().find(|c| c.header == *name)
    {
        request.pool.stored.insert(conversation, &candidate.worker);
    }
}

fn holder(request: &ProxyRequest<'_>, facts: &RequestFacts<'_>) -> Option<Arc<Worker>> {
    holder_in(request.pool, request.origin.route, request.path.path(), facts)
}

/// The workers of the model of which one holds what a request without a model refers to.
pub(super) fn group_of(
    state: &AppState,
    route: Route,
    path: &str,
    facts: &RequestFacts<'_>,
) -> Option<Arc<ServingGroup>> {
    let may_refer = match route {
        Route::Responses => facts.previous_response.is_some() || facts.conversation.is_some(),
        Route::Other => id_in_path(path).is_some(),
        _ => false,
    };
    if !may_refer {
        return None;
    }
    let holds = |group: &Arc<ServingGroup>| holder_in(&group.pool, route, path, facts).is_some();
    state.models.groups().into_iter().find(holds)
}

fn holder_in(pool: &WorkerPool, route: Route, path: &str, facts: &RequestFacts<'_>) -> Option<Arc<Worker>> {
    match route {
        Route::Responses => [&facts.previous_response, &facts.conversation]
            .into_iter()
            .find_map(|id| pool.stored.holder(id.as_deref()?)),
        Route::Other => pool.stored.holder(id_in_path(path)?),
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
