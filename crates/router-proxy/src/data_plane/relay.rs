//! A worker's answer on its way to the client: passed on frame by frame, unmodified, and watched.

use crate::lease::Lease;
use crate::workers::Connection;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use router_core::{Finish, LoadSource, Outcome};
use router_protocol::{AnswerFacts, LoadFacts, StreamWatch};
use smallvec::SmallVec;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// Larger answers that are not streams are passed on without a look at their token counts.
const MAX_WATCHED: usize = 8 << 20;

/// Why a relayed body ended early. The client sees a cut answer, never a fake end.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The worker's connection broke.
    #[error("the worker cut its answer short")]
    Worker(#[from] hyper::Error),
    /// The request's time ran out.
    #[error("the request's time ran out")]
    Timeout,
}

/// What is learned from the bytes that pass.
#[derive(Debug)]
pub(super) enum Watch {
    /// Nothing: an error answer, or a route that teaches nothing.
    Nothing,
    /// A whole JSON answer.
    Whole { chunks: SmallVec<[Bytes; 2]>, len: usize },
    /// A stream of events.
    Stream(StreamWatch),
}

/// A worker's body with the lease that it keeps alive.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) incoming: Incoming,
    /// Brings the body; back in the pool after its last byte.
    pub(super) connection: Option<Connection>,
    pub(super) lease: Lease,
    pub(super) watch: Watch,
    pub(super) status: StatusCode,
    /// Load news from the answer's headers.
    pub(super) load: Option<LoadFacts>,
    pub(super) deadline: Instant,
    /// How the body ended early, to be told at the next poll.
    pub(super) failure: Option<RelayError>,
    /// Armed only when the worker makes us wait.
    pub(super) sleep: Option<Pin<Box<Sleep>>>,
}

impl Relay {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.lease.byte_came();
                    self.watch.push(data);
                }
                // A body of known length is not polled again after its last byte, so the end is noticed here.
                if self.incoming.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease.blame("worker_cut_answer");
                self.cut(Outcome::Failed);
                self.failure = Some(error.into());
                // The server sends what it holds only when it has to wait; an error at once would swallow it.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let deadline = self.deadline;
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                ready!(sleep.as_mut().poll(cx));
                self.lease.blame("worker_timeout");
                self.cut(Outcome::Failed);
                Poll::Ready(Some(Err(RelayError::Timeout)))
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    /// The answer ended as it should.
    pub(super) fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.lease.worker.pool.put(connection);
        }
        let watch = std::mem::replace(&mut self.watch, Watch::Nothing);
        let streamed = if matches!(watch, Watch::Stream(_)) { Streamed::Yes } else { Streamed::No };
        let facts = watch.facts(self.lease.outline.route);
        let outcome = outcome(self.status, facts.as_ref(), streamed);
        self.finish(outcome, facts);
    }

    /// The answer ended early; what it said so far still counts as far as it goes.
    fn cut(&mut self, outcome: Outcome) {
        // Closing the connection is what tells the worker to stop.
        self.connection = None;
        let watch = std::mem::replace(&mut self.watch, Watch::Nothing);
        let facts = match watch {
            Watch::Stream(_) => watch.facts(self.lease.outline.route),
            Watch::Nothing | Watch::Whole { .. } => None,
        };
        self.finish(outcome, facts);
    }

    fn finish(&mut self, outcome: Outcome, facts: Option<AnswerFacts>) {
        let now = self.lease.now();
        let facts = facts.unwrap_or_default();
        let load = facts.load.or(self.load.take()).map(|l| l.report(now, LoadSource::Piggyback));
        self.lease.finish(Finish {
            status: Some(self.status.as_u16()),
            usage: facts.usage,
            timing: facts.timing,
            load,
            ..Finish::bare(outcome)
        });
    }
}

impl Drop for Relay {
    /// The client went away: what was learned from a stream so far is kept, the rest is a cancellation.
    fn drop(&mut self) {
        self.cut(Outcome::Cancelled);
    }
}

impl Watch {
    fn push(&mut self, data: &Bytes) {
        match self {
            Self::Nothing => {}
            Self::Stream(stream) => stream.push(data),
            Self::Whole { chunks, len } => {
                *len += data.len();
                if *len > MAX_WATCHED {
                    *self = Self::Nothing;
                } else {
                    chunks.push(data.clone());
                }
            }
        }
    }

    fn facts(self, route: router_core::Route) -> Option<AnswerFacts> {
        match self {
            Self::Nothing => None,
            Self::Stream(stream) => Some(stream.finish()),
            Self::Whole { chunks, len } => Some(match chunks.as_slice() {
                [one] => router_protocol::whole(route, one),
                many => {
                    let mut joined = BytesMut::with_capacity(len);
                    many.iter().for_each(|c| joined.extend_from_slice(c));
                    router_protocol::whole(route, &joined)
                }
            }),
        }
    }
}

/// What an answer that arrived whole says about its worker. A 200 that carries an error is judged by the error, and a
/// stream without a single event (SGLang 0.4.10 with a full queue) is none.
fn outcome(status: StatusCode, facts: Option<&AnswerFacts>, streamed: Streamed) -> Outcome {
    if streamed == Streamed::Yes && facts.is_some_and(|f| f.events == 0 && !f.complete) {
        return Outcome::Busy;
    }
    let inner = facts.and_then(|f| f.error.as_ref()).map(|e| e.status.unwrap_or(500));
    let code = if status.is_success() { inner.unwrap_or(status.as_u16()) } else { status.as_u16() };
    match code {
        200..=399 => Outcome::Success,
        429 | 503 => Outcome::Busy,
        400..=499 => Outcome::Rejected,
        _ => Outcome::Failed,
    }
}

/// Whether an answer was a stream of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Streamed {
    Yes,
    No,
}
