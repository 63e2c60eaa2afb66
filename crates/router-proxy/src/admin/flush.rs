//! `/flush_cache`: flushes the prefix caches of workers.

use super::recipients::Recipients;
use super::reply::json;
use super::worker_answer::{WorkerAnswer, WorkerQuestion, split_outcomes};
use crate::response::RouterBody;
use crate::state::AppState;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Time limit of one worker.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Flushes the prefix cache of every worker, or of those that the query names. As in sglang-router, the status is 200 if all
/// succeeded, and 206 otherwise.
pub(super) async fn answer(state: &Arc<AppState>, request: Request<Incoming>) -> Response<RouterBody> {
    let recipients = match Recipients::of(state, request.uri()) {
        Ok(recipients) => recipients,
        Err(error) => return error.response(),
    };
    let question = WorkerQuestion {
        method: Method::POST,
        headers: request.into_parts().0.headers,
        bodies: vec![Bytes::new(); recipients.workers.len()],
        timeout: TIMEOUT,
    };
    let answers = question.ask(&recipients).await;
    answers.iter().for_each(WorkerAnswer::note_emptied_cache);
    let (flushed, failed) = split_outcomes(&answers);
    let counts = json!({"workers_flushed": flushed.len(), "total_http_workers": answers.len(),
        "total_workers": answers.len(), "successful": flushed, "flushed": flushed, "failed": failed});
    let (status, outcome, message) = if failed.is_empty() {
        (StatusCode::OK, "success", format!("flushed the cache of all {} workers", answers.len()))
    } else {
        let message = format!("flushed the cache of {} workers; {} failed", flushed.len(), failed.len());
        (StatusCode::PARTIAL_CONTENT, "partial_success", message)
    };
    let mut body = json!({"status": outcome, "message": message});
    if let (Some(body), Value::Object(counts)) = (body.as_object_mut(), counts) {
        body.extend(counts);
    }
    json(status, &body)
}
