//! Tells a worker to give up requests by the ids that the client gave them.
//!
//! A closed connection is enough for what runs. SGLang notices it late, though, on a request that waits in its queue and
//! is not streamed.

use crate::client::{ClientError, request};
use crate::engine::ABORT_PATH;
use crate::worker::Worker;
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;

/// A worker that takes longer has other troubles.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the worker to give up the request `rid`.
pub async fn abort(worker: &Worker, rid: &str) {
    let body = serde_json::json!({ "rid": rid }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Err(error) = abort_with(worker, headers, body.into()).await {
        tracing::debug!(worker = %worker.url, %error, "cannot abort a request");
    }
}

/// Passes on a client's own wish.
pub async fn abort_with(
    worker: &Worker,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Bytes), ClientError> {
    let path = PathAndQuery::from_static(ABORT_PATH);
    request(worker, &Method::POST, &path, &headers, body, TIMEOUT).await
}
