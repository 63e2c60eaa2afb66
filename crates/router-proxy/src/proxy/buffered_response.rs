//! A worker's rejection, kept for the client in case no other worker does better.

use super::attempt::UpstreamResponse;
use crate::dispatch::retry_after;
use crate::headers::WORKER;
use crate::response::RouterBody;
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use router_telemetry::{Clock, RetryReason};
use router_upstream::Candidate;
use std::time::Duration;

/// The longest rejection that is kept, in bytes. Usually it is a line or two.
const MAX_LEN: usize = 64 << 10;

/// How long the rest of a rejection is waited for. Its head is here; another worker could respond meanwhile.
const TIMEOUT: Duration = Duration::from_millis(250);

/// A response that was read to its end.
#[derive(Debug)]
pub(super) struct BufferedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    reason: RetryReason,
}

impl BufferedResponse {
    /// Reads the rest of a response, and releases its connection. `None` when it is long, slow or broken.
    pub(super) async fn read(
        response: UpstreamResponse,
        candidate: &Candidate,
        reason: RetryReason,
    ) -> Option<Self> {
        let UpstreamResponse { parts, mut connection, first, .. } = response;
        let first = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        let body = if connection.is_over() {
            first
        } else {
            let rest = connection.collect(BytesMut::from(&first[..]), MAX_LEN, |_| {});
            tokio::time::timeout(TIMEOUT, rest).await.ok()?.ok()?
        };
        candidate.worker.transport.release(connection);
        Self::of(parts, body, candidate, reason)
    }

    /// A response of which the whole body has come. `None` when it is long.
    pub(super) fn of(parts: Parts, body: Bytes, candidate: &Candidate, reason: RetryReason) -> Option<Self> {
        if body.len() > MAX_LEN {
            return None;
        }
        let mut headers = parts.headers;
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(WORKER, candidate.header.clone());
        Some(Self { status: parts.status, headers, body, reason })
    }

    /// Whether the client is better served by this one than by a rejection for `other`: a worker that has no room is
    /// better news than one that failed.
    pub(super) fn is_better_than(&self, other: RetryReason) -> bool {
        self.is_overloaded() && other != RetryReason::Overloaded
    }

    /// Whether its worker said that it has no room.
    pub(super) fn is_overloaded(&self) -> bool {
        self.reason == RetryReason::Overloaded
    }

    /// How long the worker asks not to be sent requests, if it says.
    pub(super) fn retry_after(&self, clock: &Clock) -> Option<Duration> {
        retry_after(&self.headers, clock.unix(clock.now()))
    }

    pub(super) const fn reason(&self) -> RetryReason {
        self.reason
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The response as the worker gave it.
    pub(super) fn into_response(self) -> Response<RouterBody> {
        let mut response = Response::new(RouterBody::full(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
