//! A worker's refusal, kept for the client in case no other worker does better.

use super::attempt::Answer;
use super::{RouterBody, WORKER};
use crate::workers::Worker;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, header};
use router_telemetry::RetryReason;
use std::time::Duration;

/// A refusal is a line or two; a longer one is not waited for.
const MOST: usize = 64 << 10;

/// Its head is here, so the rest is on its way. Another worker could answer meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    detour: RetryReason,
}

impl Kept {
    /// Reads the rest of an answer, and gives its connection back. `None` when it is long, slow or broken.
    pub(super) async fn read(answer: Answer, worker: &Worker, detour: RetryReason) -> Option<Self> {
        let Answer { parts, mut connection, first } = answer;
        let first = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        let body = if connection.is_over() {
            first
        } else {
            let rest = async {
                let mut whole = BytesMut::from(&first[..]);
                while let Some(frame) = connection.frame().await {
                    whole.extend_from_slice(frame.ok()?.data_ref().map_or(&[][..], |data| data));
                    if whole.len() > MOST {
                        return None;
                    }
                }
                Some(whole.freeze())
            };
            tokio::time::timeout(PATIENCE, rest).await.ok()??
        };
        worker.pool.put(connection);
        let mut headers = parts.headers;
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(WORKER, worker.header.clone());
        Some(Self { status: parts.status, headers, body, detour })
    }

    /// A worker that has no room is better news than one that failed.
    pub(super) fn is_better_than(&self, other: RetryReason) -> bool {
        self.detour == RetryReason::Overloaded && other != RetryReason::Overloaded
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The error's name in metrics and records.
    pub(crate) const fn code(&self) -> &'static str {
        match self.detour {
            RetryReason::Overloaded => "all_workers_busy",
            _ => "all_workers_failed",
        }
    }

    /// The answer as the worker gave it.
    pub(crate) fn response(&self) -> Response<RouterBody> {
        let mut response = Response::new(RouterBody::full(self.body.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }
}
