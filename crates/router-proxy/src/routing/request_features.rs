//! What policies see of a request: the facts of its body, and what its headers add.

use super::affinity;
use crate::state::AppState;
use http::HeaderMap;
use router_core::{RequestFeatures, Route, Time};
use router_protocol::RequestFacts;

/// The features of a request with these facts and headers that came in at `received_at`. What takes time is taken only where
/// a policy needs it; `prefix` gets the hashes of the prompt.
pub(crate) fn request_features<'a>(
    state: &AppState,
    route: Route,
    headers: &HeaderMap,
    facts: &'a RequestFacts<'_>,
    received_at: Time,
    prefix: &'a mut Vec<u64>,
) -> RequestFeatures<'a> {
    let live = state.live();
    let needs = live.needs;
    if needs.prefix_hashes {
        facts.prefix_hashes(prefix);
    }
    let mut features = facts.features(state.ids.number(), route, prefix);
    if needs.text {
        features.text = facts.text();
    }
    if needs.script {
        features.script = facts.script();
    }
    if needs.forecast {
        features.model = facts.model_key();
    }
    affinity::add(&mut features, needs, &live.limits.key_sources, headers, facts);
    features.arrived_at = Some(received_at);
    features
}
