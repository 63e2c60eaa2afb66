//! A worker's seat for the length of one answer. It ends exactly once, on every path.

use crate::router::Shared;
use crate::workers::{End, Seat, Verdict, Worker, abort};
use http::StatusCode;
use router_core::{AttemptResult, Outcome, Ticket, Time};
use router_telemetry::{AttemptInfo, CompletionRecord};
use std::sync::Arc;

/// Ties a [`Ticket`] to the life of an answer: dropping it early is a cancellation.
#[derive(Debug)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
    pub(crate) worker: Arc<Worker>,
    /// What the records will say about the request.
    pub(crate) info: AttemptInfo,
    ticket: Option<Ticket>,
    seat: Seat,
    /// By which the worker can be told to stop, if the client gave the request such an id.
    rid: Option<Box<str>>,
    sent_at: Time,
    first_byte_at: Option<Time>,
    answered: bool,
    /// A fault is not held against the worker.
    excused: bool,
    /// What the router saw go wrong.
    error: Option<&'static str>,
}

impl Lease {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (worker, seat): (Arc<Worker>, Seat),
        ticket: Ticket,
        info: AttemptInfo,
    ) -> Self {
        Self {
            shared,
            worker,
            info,
            sent_at: ticket.dispatched_at(),
            ticket: Some(ticket),
            seat,
            rid: None,
            first_byte_at: None,
            answered: false,
            excused: false,
            error: None,
        }
    }

    /// The same, for a request that the worker knows as `rid`.
    pub(crate) fn with_rid(mut self, rid: Option<&str>) -> Self {
        self.rid = rid.map(Into::into);
        self
    }

    /// When the request was sent to the worker.
    pub(crate) const fn sent_at(&self) -> Time {
        self.sent_at
    }

    /// Notes the first byte of the answer's body; later calls change nothing.
    pub(crate) fn byte_came(&mut self) {
        if self.first_byte_at.is_some() {
            return;
        }
        let now = self.shared.clock.now();
        self.first_byte_at = Some(now);
        if let Some(ticket) = &self.ticket
            && self.info.stream
        {
            self.shared.balancer.lock().first_token(now, ticket);
        }
        self.shared.records.first_byte_received(&self.info);
    }

    /// The clock's time now.
    pub(crate) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Ends the lease now; later calls change nothing.
    pub(crate) fn finish(&mut self, now: Time, finish: AttemptResult) {
        if finish.outcome == Outcome::Cancelled {
            self.tell_to_stop();
        }
        let Some(ticket) = self.ticket.take() else { return };
        let finish = AttemptResult { first_byte_at: self.first_byte_at, ..finish };
        let (completion, in_flight) = {
            let mut balancer = self.shared.balancer.lock();
            let completion = balancer.finish(now, ticket, finish);
            (completion, balancer.view(completion.worker).map_or(0, |w| w.in_flight))
        };
        let verdict = if self.excused { Verdict::Neutral } else { Verdict::from(finish.outcome) };
        let end = End { sent_at: self.sent_at, at: now, seat: self.seat, verdict };
        self.worker.ended(&self.shared, end);
        self.shared.admission.seats.freed();
        self.shared.records.completed(CompletionRecord {
            info: self.info.clone(),
            worker: Arc::clone(&self.worker.telemetry),
            completion,
            in_flight,
            forwarded: self.answered,
            error: self.error,
        });
    }

    /// Notes that this answer is the one that the client gets.
    pub(crate) const fn answers(&mut self) {
        self.answered = true;
    }

    /// Notes that a fault, if it is one, is not the worker's.
    pub(crate) const fn excuse(&mut self) {
        self.excused = true;
    }

    /// Notes what went wrong, for the records.
    pub(crate) const fn blame(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    /// Ends the lease of an answer that the client does not get.
    pub(crate) fn refused(&mut self, status: StatusCode) {
        let outcome = match status.as_u16() {
            // An empty stream, or one whose first event is an error.
            200..=299 | 429 | 503 => Outcome::Busy,
            _ => Outcome::Failed,
        };
        self.finish(
            self.now(),
            AttemptResult { status: Some(status.as_u16()), ..AttemptResult::of(outcome) },
        );
    }

    /// Ends the lease with nothing known but the outcome.
    pub(crate) fn give_up(&mut self, outcome: Outcome) {
        if !self.is_over() {
            self.finish(self.now(), AttemptResult::of(outcome));
        }
    }

    /// Whether it has ended.
    pub(crate) const fn is_over(&self) -> bool {
        self.ticket.is_none()
    }

    /// The same, for a worker that may still be at it: it is told to stop.
    pub(crate) fn abandon(&mut self, outcome: Outcome) {
        self.tell_to_stop();
        self.give_up(outcome);
    }

    /// Closing the connection does it for what runs; what waits in SGLang's queue wants to be told.
    fn tell_to_stop(&mut self) {
        if !self.is_over()
            && let Some(rid) = self.rid.take()
            // An answer may be dropped where no runtime is left; then everything stops anyway.
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let worker = Arc::clone(&self.worker);
            self.shared.tasks.spawn_on(async move { abort(&worker, &rid).await }, &runtime);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_up(Outcome::Cancelled);
    }
}
