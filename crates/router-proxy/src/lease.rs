//! A worker's seat for the length of one answer. It ends exactly once, on every path.

use crate::record::{CompletionRecord, Outline};
use crate::router::Shared;
use crate::workers::Worker;
use router_core::{Finish, Outcome, Ticket, Time};
use std::sync::Arc;

/// Ties a [`Ticket`] to the life of an answer: dropping it early is a cancellation.
#[derive(Debug)]
pub(crate) struct Lease {
    shared: Arc<Shared>,
    pub(crate) worker: Arc<Worker>,
    /// What the records will say about the request.
    pub(crate) outline: Outline,
    ticket: Option<Ticket>,
    first_byte_at: Option<Time>,
    answered: bool,
    /// What the router saw go wrong.
    error: Option<&'static str>,
}

impl Lease {
    pub(crate) const fn new(
        shared: Arc<Shared>,
        worker: Arc<Worker>,
        ticket: Ticket,
        outline: Outline,
    ) -> Self {
        Self {
            shared,
            worker,
            outline,
            ticket: Some(ticket),
            first_byte_at: None,
            answered: false,
            error: None,
        }
    }

    /// Notes the first byte of the answer's body; later calls change nothing.
    pub(crate) fn byte_came(&mut self) {
        if self.first_byte_at.is_some() {
            return;
        }
        let now = self.shared.clock.now();
        self.first_byte_at = Some(now);
        if let Some(ticket) = &self.ticket
            && self.outline.stream
        {
            self.shared.balancer.lock().first_token(now, ticket);
        }
        self.shared.records.started(&self.outline);
    }

    /// The clock's time now.
    pub(crate) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Ends the lease; later calls change nothing.
    pub(crate) fn finish(&mut self, finish: Finish) {
        let Some(ticket) = self.ticket.take() else { return };
        let now = self.shared.clock.now();
        let finish = Finish { first_byte_at: self.first_byte_at, ..finish };
        let (completion, in_flight) = {
            let mut balancer = self.shared.balancer.lock();
            let completion = balancer.finish(now, ticket, finish);
            (completion, balancer.view(completion.worker).map_or(0, |w| w.in_flight))
        };
        self.shared.admission.seats.freed();
        self.shared.records.completed(CompletionRecord {
            outline: self.outline.clone(),
            worker: Arc::clone(&self.worker),
            completion,
            in_flight,
            answered: self.answered,
            error: self.error,
        });
    }

    /// Notes that this answer is the one that the client gets.
    pub(crate) const fn answers(&mut self) {
        self.answered = true;
    }

    /// Notes what went wrong, for the records.
    pub(crate) const fn blame(&mut self, error: &'static str) {
        self.error = Some(error);
    }

    /// Ends the lease with nothing known but the outcome.
    pub(crate) fn give_up(&mut self, outcome: Outcome) {
        self.finish(Finish::bare(outcome));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_up(Outcome::Cancelled);
    }
}
