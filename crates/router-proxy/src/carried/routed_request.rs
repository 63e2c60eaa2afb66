//! One request that is routed here and carried by others.

use crate::admission::Permit;
use crate::dispatch::{Dispatcher, ExcludedWorkers, LastResort, retry_after};
use crate::error::{ProxyError, is_overloaded};
use crate::lease::{ClientRid, Lease};
use crate::request_id::RequestName;
use crate::response::{ObservedResponse, of_status};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use router_core::{AttemptResult, Outcome, Reason, RequestFeatures, Route, Time};
use router_protocol::ResponseFacts;
use router_telemetry::{Leg, RetryReason, TraceContext};
use router_upstream::{Candidate, Worker};
use std::mem;
use std::sync::Arc;

/// Where a worker is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WorkerAddress {
    /// The URL by which it was added.
    pub url: Arc<str>,
    /// Its host, a name or an address; IPv6 in brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl WorkerAddress {
    fn of(worker: &Worker) -> Self {
        Self {
            url: worker.url.shared(),
            host: worker.target.authority().host().to_owned(),
            port: worker.target.port(),
        }
    }
}

/// What a further attempt of a request needs of it.
#[derive(Debug)]
pub(crate) struct RequestOutline {
    pub(crate) name: RequestName,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) received_at: Time,
    /// Without their prefix, which follows.
    pub(crate) features: RequestFeatures<'static>,
    pub(crate) prefix: Vec<u64>,
}

/// How the caller says that a request ended.
#[derive(Debug)]
pub(crate) struct RouteEnd {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<StatusCode>,
    pub(crate) facts: ResponseFacts,
}

impl RouteEnd {
    /// The end with this status and outcome. Without an outcome it is that of the status, and without either a success.
    pub(crate) fn new(status: Option<StatusCode>, outcome: Option<Outcome>, facts: ResponseFacts) -> Self {
        let outcome = outcome.or_else(|| status.map(of_status)).unwrap_or(Outcome::Success);
        Self { outcome, status, facts }
    }
}

/// One request that was routed, and that its caller carries to the worker and back.
///
/// The caller tells how the response goes, so that the policies learn from it as they do from requests that the router carries. The
/// worker has one request more in flight until the response has [ended](Self::response_ended) or this is dropped, which is a
/// cancellation.
#[derive(Debug)]
pub struct RoutedRequest {
    outline: RequestOutline,
    attempt: Attempt,
    reason: Reason,
    fallbacks: Vec<Arc<Candidate>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    _permit: Option<Permit>,
}

/// How far the attempt has come.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "every request has the large one in the end")]
enum Attempt {
    /// No response has come.
    Sent(Lease),
    /// The response has begun.
    Answered(ObservedResponse),
    /// It has ended.
    Over,
}

impl RoutedRequest {
    pub(crate) fn new(outline: RequestOutline, lease: Lease, fallbacks: Vec<Arc<Candidate>>) -> Self {
        Self {
            outline,
            reason: lease.reason,
            attempt: Attempt::Sent(lease),
            fallbacks,
            headers: Vec::new(),
            _permit: None,
        }
    }

    /// This request, which the worker is to get with these headers beside those of the client.
    pub(crate) fn with_headers(self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        Self { headers, ..self }
    }

    /// This request, which holds `permit` until it ends.
    pub(crate) fn holding(self, permit: Option<Permit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// The worker that has the request; `None` after the end.
    pub fn worker(&self) -> Option<WorkerAddress> {
        self.lease().map(|lease| WorkerAddress::of(&lease.candidate.worker))
    }

    /// The name of the worker, as in `x-sglang-worker`; `None` after the end.
    pub fn worker_name(&self) -> Option<&HeaderValue> {
        self.lease().map(|lease| &lease.candidate.header)
    }

    /// The workers to which the request may be sent when the chosen one fails, the next best first.
    pub fn fallbacks(&self) -> Vec<WorkerAddress> {
        self.fallbacks.iter().map(|candidate| WorkerAddress::of(&candidate.worker)).collect()
    }

    /// The rule that chose the worker.
    pub const fn reason(&self) -> &'static str {
        self.reason.as_str()
    }

    pub(crate) const fn route(&self) -> Route {
        self.outline.features.route
    }

    /// The request's id: the client's, or one that the router made.
    pub const fn id(&self) -> &HeaderValue {
        self.outline.name.id()
    }

    /// Headers that the worker is to get beside those of the client; each replaces one of the same name.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The response is that of this worker, given by its URL or as `host:port`, which may be a fallback. Then the attempt on the chosen worker has failed,
    /// and one on the other worker begins, as if it had been sent now.
    pub fn served_by(&mut self, worker: &str) {
        let is_meant = |candidate: &Candidate| {
            let address = WorkerAddress::of(&candidate.worker);
            *address.url == *worker || format!("{}:{}", address.host, address.port) == worker
        };
        let Attempt::Sent(lease) = &mut self.attempt else { return };
        if is_meant(&lease.candidate) {
            return;
        }
        let pool = Arc::clone(lease.pool());
        let table = &pool.candidates;
        let Some(server) = table.all().into_iter().find(|c| is_meant(c)) else { return };
        let mut passed_over = match mem::replace(&mut self.attempt, Attempt::Over) {
            Attempt::Sent(lease) => lease,
            Attempt::Answered(_) | Attempt::Over => return,
        };
        // It may have died; its check tells before the next request does.
        passed_over.candidate.worker.request_recheck();
        passed_over.set_error(ProxyError::ServedElsewhere.code());
        passed_over.finish_as(Outcome::Failed);
        self.outline.features.attempt += 1;
        let RequestOutline { name, trace, received_at, features, prefix } = &self.outline;
        pool.telemetry.retried(features.route, RetryReason::Disconnected);
        let headers = HeaderMap::new();
        let dispatcher = Dispatcher {
            pool: &pool,
            leg: Leg::Whole,
            id: name.id(),
            trace: *trace,
            notes: None,
            received_at: *received_at,
            rid: ClientRid::Absent,
            headers: &headers,
        };
        let features = RequestFeatures { prefix, ..*features };
        let others = ExcludedWorkers::all_but(&server.worker, table);
        // A worker that is full or has left meanwhile is not counted: its response is still passed on.
        if let Ok(mut lease) = dispatcher.dispatch(&features, others.ids(), LastResort::Allowed) {
            lease.take_rid(&mut passed_over);
            self.reason = lease.reason;
            self.attempt = Attempt::Sent(lease);
        }
    }

    /// The first byte of the response's body has come; later calls change nothing. [`response_data`](Self::response_data) says so,
    /// too.
    pub fn first_byte(&mut self) {
        if let Some(lease) = self.lease_mut() {
            lease.on_first_byte();
        }
    }

    /// So many events of a streamed response have come, all together.
    pub fn progress(&mut self, events: u32) {
        if let Some(lease) = self.lease_mut() {
            lease.on_events(events);
        }
    }

    /// The head of the worker's response has come.
    pub fn response_started(&mut self, head: &Parts) {
        let mut lease = match mem::replace(&mut self.attempt, Attempt::Over) {
            Attempt::Sent(lease) => lease,
            other => {
                self.attempt = other;
                return;
            }
        };
        lease.mark_delivered();
        self.note_status(&lease, head.status, &head.headers);
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            lease.on_switched();
        }
        self.attempt = Attempt::Answered(ObservedResponse::new(lease, head));
    }

    /// The head of the worker's response has come, and its caller does not see the body: the request ends with it.
    pub fn response_without_body(&mut self, head: &Parts) {
        self.finish(RouteEnd::new(Some(head.status), None, ResponseFacts::default()));
    }

    /// Data of the response's body passes.
    pub fn response_data(&mut self, data: &Bytes) {
        if let Attempt::Answered(response) = &mut self.attempt
            && !data.is_empty()
        {
            response.observe(data);
        }
    }

    /// The response has ended as it should.
    pub fn response_ended(&mut self) {
        if let Attempt::Answered(mut response) = mem::replace(&mut self.attempt, Attempt::Over) {
            response.complete();
        }
    }

    /// The caller got no response from the worker nor from the fallbacks, if it tried them, and made one of its own with this status.
    pub fn not_answered(&mut self, status: StatusCode) {
        if let Attempt::Sent(mut lease) = mem::replace(&mut self.attempt, Attempt::Over) {
            let now = lease.now();
            let took = now.since(self.outline.received_at);
            lease.pool().telemetry.response_started(self.outline.features.route, status.as_u16(), took);
            for tried in self.fallbacks.iter().chain([&lease.candidate]) {
                tried.worker.request_recheck();
            }
            lease.set_error(ProxyError::NoResponse.code());
            lease.finish_as(Outcome::Failed);
        }
    }

    /// The request has ended, as its caller says.
    pub(crate) fn finish(&mut self, end: RouteEnd) {
        let RouteEnd { outcome, status, facts } = end;
        let mut lease = match mem::replace(&mut self.attempt, Attempt::Over) {
            Attempt::Sent(lease) => lease,
            Attempt::Answered(_) | Attempt::Over => return,
        };
        if let Some(status) = status {
            lease.mark_delivered();
            self.note_status(&lease, status, &HeaderMap::new());
        }
        let result = AttemptResult {
            status: status.map(|status| status.as_u16()),
            usage: facts.usage,
            timing: facts.timing,
            ..AttemptResult::of(outcome)
        };
        lease.finish(lease.now(), result);
    }

    /// Nothing more is heard of the request. Whether its worker still runs it is unknown, so that it is not asked to abort.
    pub(crate) fn expire(&mut self) {
        if let Some(lease) = self.lease_mut() {
            lease.forget_rid();
            lease.set_error("route_expired");
            lease.finish_as(Outcome::Cancelled);
        }
        self.attempt = Attempt::Over;
    }

    /// Takes note of what a status says about its worker.
    fn note_status(&self, lease: &Lease, status: StatusCode, headers: &HeaderMap) {
        let pool = lease.pool();
        let now = lease.now();
        if is_overloaded(status) {
            let pause = retry_after(headers, pool.clock.unix(now));
            pool.candidates.cool_down(&lease.candidate, now, pause);
        }
        let took = now.since(self.outline.received_at);
        pool.telemetry.response_started(self.outline.features.route, status.as_u16(), took);
    }

    const fn lease(&self) -> Option<&Lease> {
        match &self.attempt {
            Attempt::Sent(lease) => Some(lease),
            Attempt::Answered(response) => Some(&response.lease),
            Attempt::Over => None,
        }
    }

    const fn lease_mut(&mut self) -> Option<&mut Lease> {
        match &mut self.attempt {
            Attempt::Sent(lease) => Some(lease),
            Attempt::Answered(response) => Some(&mut response.lease),
            Attempt::Over => None,
        }
    }
}
