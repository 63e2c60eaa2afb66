//! What the line of one request says, while the request is on its way.

use crate::clock::Clock;
use crate::leg::Leg;
use crate::metrics::Metrics;
use crate::queue::BoundedQueue;
use crate::record::CompletionRecord;
use http::{HeaderValue, Method, StatusCode, Version};
use parking_lot::Mutex;
use router_core::{Outcome, Reason, Time, TokenUsage};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The status of a request whose client left before there was one. nginx has made it known.
const CLIENT_CLOSED: u16 = 499;

/// The error of a response that its client did not wait for.
const CLIENT_DISCONNECTED: &str = "client_disconnected";

/// What is known of a request when it comes in.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    /// The client's address.
    pub client: IpAddr,
    /// Its method.
    pub method: Method,
    /// Its path. The query is left out, because it may carry keys.
    pub path: Box<str>,
    /// Its version of HTTP.
    pub version: Version,
    /// When it came in.
    pub received_at: Time,
}

/// What the attempts of one request leave for its line.
#[derive(Debug, Default)]
pub struct AttemptNotes(Mutex<AttemptSummary>);

#[derive(Clone, Debug, Default)]
pub(super) struct AttemptSummary {
    /// The request's id; absent for one that the router serves itself.
    pub(super) request_id: Option<HeaderValue>,
    /// Attempts that were made.
    pub(super) attempts: u32,
    /// The worker of the attempt whose response the client got, else of the last one.
    pub(super) worker: Option<Arc<str>>,
    /// Why that worker was chosen.
    pub(super) reason: Option<Reason>,
    /// From the request in to the first byte of a streamed response.
    pub(super) first_token: Option<Duration>,
    pub(super) usage: TokenUsage,
    pub(super) error: Option<&'static str>,
    /// The client got the response of one of them.
    pub(super) is_forwarded: bool,
}

impl AttemptNotes {
    /// The request is known by this id from now on.
    pub fn named(&self, id: &HeaderValue) {
        self.0.lock().request_id = Some(id.clone());
    }

    /// An attempt of this part of the request begins.
    pub fn attempt_began(&self, leg: Leg) {
        if leg != Leg::Prefill {
            self.0.lock().attempts += 1;
        }
    }

    /// An attempt ended, on the worker of this name that was chosen for this reason.
    pub fn attempt_ended(&self, record: &CompletionRecord, worker: &Arc<str>, reason: Reason) {
        let mut notes = self.0.lock();
        if record.info.leg == Leg::Prefill || (notes.is_forwarded && !record.forwarded) {
            return;
        }
        notes.is_forwarded = record.forwarded;
        notes.worker = Some(Arc::clone(worker));
        notes.reason = Some(reason);
        notes.first_token = record.info.time_to_first_byte(&record.completion, record.info.received_at);
        notes.usage = record.completion.result.usage;
        let has_client_left =
            record.completion.result.outcome == Outcome::Cancelled && !record.is_ended_tunnel();
        notes.error = record.error.or(has_client_left.then_some(CLIENT_DISCONNECTED));
    }

    /// The client gets an error response of the router with this code.
    pub fn rejected(&self, code: &'static str) {
        self.0.lock().error = Some(code);
    }
}

/// The line of one request. It is written when this is dropped, with the response's body or without a response.
#[derive(Debug)]
pub struct AccessEntry {
    lines: Arc<LineQueue>,
    request: AccessRequest,
    notes: Arc<AttemptNotes>,
    status: Option<StatusCode>,
    /// Bytes of the response's body.
    bytes: u64,
}

impl AccessEntry {
    /// A line that goes to `lines`.
    pub(super) fn new(lines: Arc<LineQueue>, request: AccessRequest) -> Self {
        Self { lines, request, notes: Arc::default(), status: None, bytes: 0 }
    }

    /// Where the attempts of the request leave what they know.
    pub const fn notes(&self) -> &Arc<AttemptNotes> {
        &self.notes
    }

    /// The response to the client begins.
    pub const fn responded(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// So many more bytes of the body go to the client.
    pub const fn count_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

impl Drop for AccessEntry {
    fn drop(&mut self) {
        let mut attempts = self.notes.0.lock().clone();
        if self.status.is_none() {
            attempts.error = Some(CLIENT_DISCONNECTED);
        }
        self.lines.push(AccessRecord {
            request: self.request.clone(),
            attempts,
            status: self.status.map_or(CLIENT_CLOSED, |status| status.as_u16()),
            bytes: self.bytes,
            duration: self.lines.clock.now().since(self.request.received_at),
        });
    }
}

/// A request that has ended, for its line.
#[derive(Debug)]
pub(super) struct AccessRecord {
    pub(super) request: AccessRequest,
    pub(super) attempts: AttemptSummary,
    pub(super) status: u16,
    /// Bytes of the response's body.
    pub(super) bytes: u64,
    /// From the request in to the last byte of the response.
    pub(super) duration: Duration,
}

/// Where lines wait to be written.
#[derive(Debug)]
pub(super) struct LineQueue {
    pub(super) waiting: BoundedQueue<AccessRecord>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) clock: Clock,
}

impl LineQueue {
    /// Adds a line, or drops and counts it if the queue is full.
    fn push(&self, record: AccessRecord) {
        if self.waiting.push(record).is_err() {
            self.metrics.access_lines_lost(1);
        }
    }
}
