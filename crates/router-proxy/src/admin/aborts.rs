//! `/abort_request`: aborts one request, or all of them.

use super::body;
use super::recipients::Recipients;
use super::reply::{json, refuse};
use super::worker_answer::{WorkerQuestion, split_outcomes};
use crate::error::ProxyError;
use crate::response::{RouterBody, error_response};
use crate::state::AppState;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use router_core::Route;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of one worker.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a body asks for.
#[derive(Debug, Deserialize)]
struct AbortBody {
    #[serde(default)]
    rid: serde_json::Value,
    #[serde(default)]
    abort_all: bool,
}

impl AbortBody {
    /// Whether requests of other clients are aborted. Some versions of SGLang abort every request whose id begins with the given
    /// one, which an empty one does.
    fn is_for_all(&self) -> bool {
        self.abort_all || self.rid.is_null() || self.rid == ""
    }
}

/// Asks every worker to abort, or those that the query names.
///
/// One request may be on any worker, so 200 says that a worker accepted; engines also accept ids that they do not know. All
/// requests are aborted only where every worker has accepted, and only by an admin.
pub(super) async fn answer(
    state: &Arc<AppState>,
    admin: Result<(), ProxyError>,
    request: Request<Incoming>,
) -> Response<RouterBody> {
    let (parts, body) = request.into_parts();
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(error) => {
            let message = format!("the body could not be read: {error}");
            return refuse(StatusCode::BAD_REQUEST, &message, "unreadable_body");
        }
    };
    let is_for_all = serde_json::from_slice::<AbortBody>(&body).is_ok_and(|body| body.is_for_all());
    if let (true, Err(error)) = (is_for_all, admin) {
        return error_response(&error, Route::Other);
    }
    let recipients = match Recipients::of(state, &parts.uri) {
        Ok(recipients) => recipients,
        Err(error) => return error.response(),
    };
    let question = WorkerQuestion {
        method: Method::POST,
        headers: parts.headers,
        bodies: vec![body; recipients.workers.len()],
        timeout: TIMEOUT,
    };
    let answers = question.ask(&recipients).await;
    let (asked, failed) = split_outcomes(&answers);
    let is_done = !asked.is_empty() && (failed.is_empty() || !is_for_all);
    let status = if is_done { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
    json(status, &json!({"asked": asked, "failed": failed}))
}
