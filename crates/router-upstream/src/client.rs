//! A small request of the router's own to one worker: health, load, information.

use crate::connection_pool::UpstreamError;
use crate::http1::{CollectError, EncodedRequest, ResponseError};
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;

/// Largest answer that is read; a worker's `/metrics` has some hundred kilobytes.
const MAX_RESPONSE: usize = 16 << 20;

/// Tells a worker's log that nobody but the router asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("sgl-router/", env!("CARGO_PKG_VERSION")));

/// Why a worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not in time.
    #[error("no response within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It could not be reached, or the connection broke.
    #[error("{}", root_cause(.0))]
    Connection(#[from] UpstreamError),
    /// The response was cut short, or is larger than any that the router asks for.
    #[error("the response cannot be read: {0}")]
    Response(#[from] CollectError),
}

/// The innermost message of an error, which is the one that tells an operator something.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A GET.
pub async fn get(
    worker: &Worker,
    path: &PathAndQuery,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    let mut head = worker.request(&Method::GET, path, Bytes::new());
    head.set(header::USER_AGENT, &AGENT);
    send(worker, head.end(), timeout).await
}

/// Any method, with the client's headers and body.
pub async fn request(
    worker: &Worker,
    method: &Method,
    path: &PathAndQuery,
    headers: &HeaderMap,
    body: Bytes,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    let mut head = worker.request(method, path, body);
    head.pass(headers);
    send(worker, head.end(), timeout).await
}

async fn send(
    worker: &Worker,
    request: EncodedRequest,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), ClientError> {
    let exchange = async {
        let (parts, mut connection) = match worker.pool.send(request.clone()).await {
            // A kept connection may have been closed while the request was on its way. What the router asks may be
            // asked twice.
            Err(UpstreamError::Response(ResponseError::Closed | ResponseError::Broken(_))) => {
                worker.pool.send_on_new(request).await?
            }
            result => result?,
        };
        let body = connection.collect(BytesMut::new(), MAX_RESPONSE, |_| {}).await?;
        worker.pool.release(connection);
        Ok((parts.status, body))
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(ClientError::Timeout(timeout)))
}
