//! The figures from which the fleet is scaled, with their reasons.

use super::reply::json;
use crate::response::RouterBody;
use crate::scale_figures::figures;
use crate::state::AppState;
use http::{Response, StatusCode};
use serde_json::json;

/// Each pool with its figures.
pub(super) fn answer(state: &AppState) -> Response<RouterBody> {
    let pools: Vec<_> = state.scale().iter().map(figures).collect();
    json(StatusCode::OK, &json!({ "pools": pools }))
}
