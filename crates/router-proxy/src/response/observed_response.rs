//! A worker's response as it passes: what is learned from it, and the lease that ends with it.

use super::observer::ResponseObserver;
use super::outcome::final_outcome;
use crate::lease::Lease;
use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;
use router_core::{AttemptResult, LoadSource, Outcome};
use router_protocol::{LoadFigures, ResponseFacts};

/// A worker's response as it passes, whoever carries it. Dropping it is a cancellation.
#[derive(Debug)]
pub(crate) struct ObservedResponse {
    pub(crate) lease: Lease,
    observer: ResponseObserver,
    status: StatusCode,
    /// The load report of the response's headers.
    load: Option<LoadFigures>,
}

impl ObservedResponse {
    /// The response with this head to the attempt of `lease`.
    pub(crate) fn new(lease: Lease, parts: &Parts) -> Self {
        let load = parts.headers.get("endpoint-load-metrics").and_then(|v| v.to_str().ok());
        Self {
            observer: ResponseObserver::new(parts, lease.info.route),
            status: parts.status,
            load: load.and_then(router_protocol::parse_orca),
            lease,
        }
    }

    /// Takes note of data that passes.
    pub(crate) fn observe(&mut self, data: &Bytes) {
        if self.status.is_success() {
            self.lease.on_first_byte();
        } else {
            self.lease.on_first_byte_of_error();
        }
        self.observer.push(data);
        self.lease.on_events(self.observer.events());
    }

    /// The body ended as it should.
    pub(crate) fn complete(&mut self) {
        let observer = std::mem::replace(&mut self.observer, ResponseObserver::Nothing);
        let is_stream = observer.is_stream();
        let facts = observer.facts();
        let outcome = final_outcome(self.status, facts.as_ref(), is_stream);
        self.finish(outcome, facts);
    }

    /// The body ended early. What a stream has said so far counts; a part of a JSON document says nothing.
    pub(crate) fn abort(&mut self, outcome: Outcome) {
        let observer = std::mem::replace(&mut self.observer, ResponseObserver::Nothing);
        let facts = if observer.is_stream() { observer.facts() } else { None };
        self.finish(outcome, facts);
    }

    fn finish(&mut self, outcome: Outcome, facts: Option<ResponseFacts>) {
        let now = self.lease.now();
        let facts = facts.unwrap_or_default();
        if let Some(id) = &facts.stored_id {
            self.lease.remember_stored(id);
        }
        let load = facts.load.or(self.load.take()).map(|l| l.report(now, LoadSource::Piggyback));
        let finish = AttemptResult {
            status: Some(self.status.as_u16()),
            usage: facts.usage,
            timing: facts.timing,
            load,
            ..AttemptResult::of(outcome)
        };
        self.lease.finish(now, finish);
    }
}

impl Drop for ObservedResponse {
    fn drop(&mut self) {
        if !self.lease.is_over() {
            self.abort(Outcome::Cancelled);
        }
    }
}
