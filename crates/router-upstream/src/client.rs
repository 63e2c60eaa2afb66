//! Small requests of the router itself to one worker: health, load, server information, aborts.

use crate::connection_pool::UpstreamError;
use crate::engine::ABORT_PATH;
use crate::http1::CollectError;
use crate::worker::Worker;
use crate::worker_request::RequestBuilder;
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;
use tokio::time::Instant;

/// Largest response that is read, in bytes; a worker's `/metrics` has some hundred kilobytes.
const MAX_RESPONSE: usize = 16 << 20;

/// Shows in a worker's log that the request comes from the router itself.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("sgl-router/", env!("CARGO_PKG_VERSION")));

/// Why no response was received.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No response in time.
    #[error("no response within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It could not be reached, or the connection broke.
    #[error("{}", root_cause(.0))]
    Connection(#[from] UpstreamError),
    /// The response was cut short, or is larger than any that the router asks for.
    #[error("the response cannot be read: {0}")]
    Response(#[from] CollectError),
}

/// The innermost message of an error, which names the cause.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Sends a GET and returns the status and the body.
///
/// # Errors
/// When no response arrives within `timeout`.
pub async fn get(
    worker: &Worker,
    path: &PathAndQuery,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    get_at_most(worker, path, MAX_RESPONSE, timeout).await
}

/// The same, for a body of at most `limit` bytes.
///
/// # Errors
/// When no response arrives within `timeout`, or a larger one.
pub async fn get_at_most(
    worker: &Worker,
    path: &PathAndQuery,
    limit: usize,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    let mut head = worker.request(&Method::GET, path, Bytes::new());
    head.set(header::USER_AGENT, &AGENT);
    send(worker, head, limit, timeout).await
}

/// Sends a request with the headers and the body of a client, and returns the status and the body.
///
/// # Errors
/// When no response arrives within `timeout`.
pub async fn request(
    worker: &Worker,
    method: &Method,
    path: &PathAndQuery,
    headers: &HeaderMap,
    body: Bytes,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    let mut head = worker.request(method, path, body);
    head.forward(headers);
    send(worker, head, MAX_RESPONSE, timeout).await
}

async fn send(
    worker: &Worker,
    mut head: RequestBuilder,
    limit: usize,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    // A time that no clock reaches is no limit.
    if let Some(deadline) = Instant::now().checked_add(timeout) {
        head.set_deadline(deadline);
    }
    let exchange = async {
        let (parts, mut connection) = worker.transport.send(head.finish()).await?;
        let body = connection.collect(BytesMut::new(), limit, |_| {}).await?;
        worker.transport.release(connection);
        Ok((parts.status, body))
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(ClientError::Timeout(timeout)))
}

/// How long an abort may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the worker to abort the request with the client's id `rid`. `authorization` is the client's key, for a worker of
/// which the router has none. Errors are logged only.
///
/// Closing the connection is enough for a running request. SGLang notices that late for a request that waits in its queue
/// and is not streamed.
pub async fn abort(worker: &Worker, rid: &str, authorization: Option<HeaderValue>) {
    let body = serde_json::json!({ "rid": rid }).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(key) = authorization {
        headers.insert(header::AUTHORIZATION, key);
    }
    let path = PathAndQuery::from_static(ABORT_PATH);
    let sent = request(worker, &Method::POST, &path, &headers, body.into(), ABORT_TIMEOUT).await;
    if let Err(error) = sent {
        tracing::debug!(worker = %worker.url, %error, "cannot abort a request");
    }
}
