//! A small request of the router's own to one worker: health, load, information.

use super::{ExchangeError, Process};
use crate::http1::{AnswerError, Outgoing};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::time::Duration;

/// Largest answer that is read; a worker's `/metrics` has some hundred kilobytes.
const MAX_ANSWER: usize = 16 << 20;

/// Tells a worker's log that nobody but the router asks.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("sgl-router/", env!("CARGO_PKG_VERSION")));

/// Why a worker gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// Not in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It could not be reached, or the connection broke.
    #[error("{}", root_cause(.0))]
    Connection(#[from] ExchangeError),
    /// The answer was cut short or too large.
    #[error("answer unreadable: {0}")]
    Answer(AnswerError),
    /// The answer is larger than any that the router asks for.
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
}

/// The innermost message of an error, which is the one that tells an operator something.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// A GET.
pub(crate) async fn fetch(
    worker: &Process,
    path: &PathAndQuery,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let mut head = worker.request(&Method::GET, path, Bytes::new());
    head.set(header::USER_AGENT, &AGENT);
    send(worker, head.end(), timeout).await
}

/// Any method, with the client's headers and body.
pub(crate) async fn fetch_with(
    worker: &Process,
    (method, path): (Method, &PathAndQuery),
    (headers, body): (HeaderMap, Bytes),
    timeout: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let mut head = worker.request(&method, path, body);
    head.pass(&headers);
    send(worker, head.end(), timeout).await
}

async fn send(
    worker: &Process,
    request: Outgoing,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    let exchange = async {
        let (parts, mut connection) = match worker.pool.send(request.clone()).await {
            // A kept connection may have been closed while the request was on its way. What the router asks may be
            // asked twice.
            Err(ExchangeError::Answer(AnswerError::Closed | AnswerError::Broken(_))) => {
                worker.pool.send_anew(request).await?
            }
            result => result?,
        };
        let mut whole = Vec::new();
        while let Some(frame) = connection.frame().await {
            let frame = frame.map_err(FetchError::Answer)?;
            whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            if whole.len() > MAX_ANSWER {
                return Err(FetchError::TooLarge);
            }
        }
        worker.pool.put(connection);
        Ok((parts.status, Bytes::from(whole)))
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(FetchError::Timeout(timeout)))
}
