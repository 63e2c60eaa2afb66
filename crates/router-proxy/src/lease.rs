//! One attempt's hold on a candidate, for as long as its response lasts. It ends exactly once, on every path.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use router_core::{AttemptResult, Outcome, PROGRESS_INTERVAL, Reason, Ticket, Time};
use router_protocol::RequestFacts;
use router_telemetry::{AttemptInfo, AttemptNotes, CompletionRecord, Leg, LiveFirstByte};
use router_upstream::{AttemptEnd, AttemptKind, Candidate, HealthVerdict, WorkerPool, abort};
use std::sync::Arc;

/// The id that the client gave its request (SGLang's `rid`), by which engines know the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientRid<'a> {
    /// It gave none, and the engine makes one.
    Absent,
    /// The id of a single request, by which it can be aborted.
    Single(&'a str),
    /// Those of a batch: aborting one of them aborts nothing else.
    Batch,
}

impl<'a> ClientRid<'a> {
    /// The id that a request with these facts has.
    pub(crate) fn of(facts: &'a RequestFacts<'_>) -> Self {
        match facts.rid.as_deref() {
            None => Self::Absent,
            Some(rid) if facts.batch == 1 => Self::Single(rid),
            Some(_) => Self::Batch,
        }
    }

    /// Whether an engine could meet the id a second time. Some versions of SGLang corrupt the response to an id that they
    /// have seen, or never give one.
    pub(crate) fn is_given(self) -> bool {
        self != Self::Absent
    }
}

/// What the access log is told of one attempt.
#[derive(Debug)]
pub(crate) struct AttemptNote(Arc<AttemptNotes>);

impl AttemptNote {
    /// An attempt of this part of a request begins.
    pub(crate) fn new(notes: &Arc<AttemptNotes>, leg: Leg) -> Self {
        notes.attempt_began(leg);
        Self(Arc::clone(notes))
    }
}

/// Ties a [`Ticket`] to the life of a response: dropping it early is a cancellation.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<WorkerPool>,
    pub(crate) candidate: Arc<Candidate>,
    /// What the records say about the attempt.
    pub(crate) info: AttemptInfo,
    /// Why the worker was chosen.
    pub(crate) reason: Reason,
    ticket: Option<Ticket>,
    kind: AttemptKind,
    /// By which the worker can be asked to abort, if the client gave the request such an id.
    abort_key: Option<AbortKey>,
    /// The client gave the request an id, or ids.
    has_client_rid: bool,
    sent_at: Time,
    first_byte_at: Option<Time>,
    told: ToldProgress,
    is_delivered: bool,
    /// A failure is not counted by the circuit breaker.
    is_exempt: bool,
    /// The router's own code for what went wrong.
    error: Option<&'static str>,
    /// Set where the access log has a line for the request.
    note: Option<AttemptNote>,
}

/// What the policies were told of a stream's progress.
#[derive(Clone, Copy, Debug, Default)]
struct ToldProgress {
    at: Time,
    /// The clock is not read before so many events have come.
    next_look: u32,
}

/// Events between two looks at the clock.
const LOOK_EVERY: u32 = 8;

/// What an abort needs.
#[derive(Debug)]
struct AbortKey {
    rid: Box<str>,
    /// The client's key.
    authorization: Option<HeaderValue>,
}

impl Lease {
    /// A lease on `candidate` of `pool`, taken by the dispatch that made `ticket`.
    pub(crate) fn new(
        pool: Arc<WorkerPool>,
        candidate: Arc<Candidate>,
        kind: AttemptKind,
        ticket: Ticket,
        info: AttemptInfo,
        reason: Reason,
    ) -> Self {
        Self {
            pool,
            candidate,
            info,
            reason,
            sent_at: ticket.dispatched_at(),
            ticket: Some(ticket),
            kind,
            abort_key: None,
            has_client_rid: false,
            first_byte_at: None,
            told: ToldProgress::default(),
            is_delivered: false,
            is_exempt: false,
            error: None,
            note: None,
        }
    }

    /// This lease, of which the access log is told.
    pub(crate) fn with_note(mut self, note: Option<AttemptNote>) -> Self {
        self.note = note;
        self
    }

    /// This lease, for a request that the worker knows as `rid` and that has these headers.
    pub(crate) fn with_rid(mut self, rid: ClientRid<'_>, headers: &HeaderMap) -> Self {
        self.has_client_rid = rid.is_given();
        if let ClientRid::Single(rid) = rid {
            let authorization = headers.get(header::AUTHORIZATION).cloned();
            self.abort_key = Some(AbortKey { rid: rid.into(), authorization });
        }
        self
    }

    /// The workers among which its candidate was chosen.
    pub(crate) const fn pool(&self) -> &Arc<WorkerPool> {
        &self.pool
    }

    /// The request now has this lease in place of `other`: its worker can be asked to abort by the same id.
    pub(crate) fn take_rid(&mut self, other: &mut Self) {
        self.has_client_rid = other.has_client_rid;
        self.abort_key = other.abort_key.take();
    }

    /// The worker is not asked to abort any more.
    pub(crate) fn forget_rid(&mut self) {
        self.abort_key = None;
    }

    /// Whether the worker may know the request by an id of the client.
    pub(crate) const fn has_client_rid(&self) -> bool {
        self.has_client_rid
    }

    /// When the request was sent to the worker.
    pub(crate) const fn sent_at(&self) -> Time {
        self.sent_at
    }

    /// Notes the first byte of the response's body; later calls change nothing.
    pub(crate) fn on_first_byte(&mut self) {
        if self.first_byte_at.is_some() {
            return;
        }
        self.on_first_byte_of_error();
        if let Some(at) = self.first_byte_at.filter(|_| self.info.stream) {
            let secs = at.secs_since(self.sent_at);
            let (pool, worker) = (self.info.pool, self.candidate.id);
            self.pool.telemetry.stream_began(LiveFirstByte { pool, worker, at, secs });
        }
    }

    /// The same of a response that is an error: it tells nothing of how soon a stream begins.
    pub(crate) fn on_first_byte_of_error(&mut self) {
        if self.first_byte_at.is_some() {
            return;
        }
        let now = self.pool.clock.now();
        self.first_byte_at = Some(now);
        self.told.at = now;
        if let Some(ticket) = &mut self.ticket
            && self.info.stream
        {
            self.pool.balancer.lock().first_token(now, ticket);
        }
        self.pool.telemetry.first_byte_received(&self.info);
    }

    /// So many events of a stream have come: from time to time the policies are told, if some of them want to know.
    pub(crate) fn on_events(&mut self, events: u32) {
        if !self.pool.needs.get().progress || events < self.told.next_look {
            return;
        }
        self.told.next_look = events.saturating_add(LOOK_EVERY);
        let now = self.pool.clock.now();
        if let Some(ticket) = &self.ticket
            && now.since(self.told.at) >= PROGRESS_INTERVAL
        {
            self.told.at = now;
            self.pool.balancer.lock().progress(now, ticket, events);
        }
    }

    /// The worker keeps the response under `id`, for requests that refer to it.
    pub(crate) fn remember_stored(&self, id: &str) {
        self.pool.stored.insert(id, &self.candidate.worker);
    }

    /// The worker has agreed to another protocol. That is its success, and counts for the breaker now: how long the connection
    /// is open is up to the client.
    pub(crate) fn on_switched(&mut self) {
        let kind = std::mem::replace(&mut self.kind, AttemptKind::Normal);
        let end = AttemptEnd { sent_at: self.sent_at, at: self.now(), kind, verdict: HealthVerdict::Success };
        self.candidate.worker.record_attempt(&self.pool, end);
    }

    /// The clock's time now.
    pub(crate) fn now(&self) -> Time {
        self.pool.clock.now()
    }

    /// Ends the lease now; later calls change nothing.
    pub(crate) fn finish(&mut self, now: Time, finish: AttemptResult) {
        if finish.outcome == Outcome::Cancelled {
            self.send_abort();
        }
        let Some(ticket) = self.ticket.take() else { return };
        let finish = AttemptResult { first_byte_at: self.first_byte_at, ..finish };
        let (completion, in_flight) = {
            let mut balancer = self.pool.balancer.lock();
            let completion = balancer.finish(now, ticket, finish);
            (completion, balancer.view(completion.worker).map_or(0, |w| w.in_flight))
        };
        let verdict =
            if self.is_exempt { HealthVerdict::Ignored } else { HealthVerdict::from(finish.outcome) };
        let end = AttemptEnd { sent_at: self.sent_at, at: now, kind: self.kind, verdict };
        self.candidate.worker.record_attempt(&self.pool, end);
        self.pool.capacity.slot_released();
        let record = CompletionRecord {
            info: self.info.clone(),
            completion,
            in_flight,
            forwarded: self.is_delivered,
            error: self.error,
        };
        if let Some(note) = &self.note {
            note.0.attempt_ended(&record, &self.candidate.telemetry.name, self.reason);
        }
        self.pool.telemetry.completed(&self.candidate.telemetry, record);
    }

    /// Whether the router ends what is still running.
    pub(crate) fn is_router_stopping(&self) -> bool {
        self.pool.stopping.is_cancelled()
    }

    /// Notes that this response is the one that the client gets.
    pub(crate) const fn mark_delivered(&mut self) {
        self.is_delivered = true;
    }

    /// Notes that a failure, if it is one, is not the worker's.
    pub(crate) const fn exempt_from_breaker(&mut self) {
        self.is_exempt = true;
    }

    /// Notes what went wrong, for the records.
    pub(crate) const fn set_error(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    /// Ends the lease of a response that the client does not get, judged by its head and first frame.
    pub(crate) fn finish_rejected(&mut self, status: StatusCode, outcome: Outcome) {
        let result = AttemptResult { status: Some(status.as_u16()), ..AttemptResult::of(outcome) };
        self.finish(self.now(), result);
    }

    /// Ends the lease with nothing known but the outcome.
    pub(crate) fn finish_as(&mut self, outcome: Outcome) {
        if !self.is_over() {
            self.finish(self.now(), AttemptResult::of(outcome));
        }
    }

    /// Whether it has ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.ticket.is_none()
    }

    /// Ends the lease of a worker that may still be working on the request: it is asked to abort.
    pub(crate) fn abort(&mut self, outcome: Outcome) {
        self.send_abort();
        self.finish_as(outcome);
    }

    /// Closing the connection cancels a request that runs; one that waits in SGLang's queue needs a message.
    fn send_abort(&mut self) {
        if !self.is_over()
            && let Some(AbortKey { rid, authorization }) = self.abort_key.take()
            // A lease may be dropped after the runtime is gone; then everything stops anyway.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let worker = Arc::clone(&self.candidate.worker);
            self.pool.tasks.spawn_on(async move { abort(&worker, &rid, authorization).await }, &runtime);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.finish_as(Outcome::Cancelled);
    }
}
