//! A worker's response body on its way to the client: passed on frame by frame, unmodified, and observed.

use super::keep_alive::KeepAlive;
use super::observed_response::ObservedResponse;
use super::sse_tail::SseTail;
use crate::timer::{IdleTimeout, TimedOut};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use router_core::Outcome;
use router_upstream::{ResponseError, WorkerConnection};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Why a body ended early. The client sees an error event where it reads events, and a closed connection elsewhere;
/// never an end that looks complete.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The worker's connection broke.
    #[error("the worker's response was cut short")]
    Worker(#[from] ResponseError),
    /// The request's time ran out.
    #[error("the request's time ran out")]
    Timeout,
    /// The prefill worker failed before all prompts were handed over.
    #[error("the prefill worker failed before all prompts were handed over")]
    Prefill,
    /// The router stops.
    #[error("the router was stopped before the response was complete")]
    Stopped,
    /// Nothing came for too long.
    #[error("nothing came from the worker for {} s", .0.as_secs_f64())]
    Idle(Duration),
}

impl RelayError {
    /// The error's name in records and the client's error event.
    const fn code(&self) -> &'static str {
        match self {
            Self::Worker(_) => "worker_cut_answer",
            Self::Timeout => "worker_timeout",
            Self::Idle(_) => "worker_silent",
            Self::Prefill => "prefill_server_error",
            Self::Stopped => "router_stopped",
        }
    }
}

impl From<TimedOut> for RelayError {
    fn from(timed_out: TimedOut) -> Self {
        match timed_out {
            TimedOut::Deadline => Self::Timeout,
            TimedOut::Idle(bound) => Self::Idle(bound),
        }
    }
}

/// By when a body has to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyDeadlines {
    /// The end of the request's time.
    pub(crate) total: Instant,
    /// Nothing may come from the worker for this long.
    pub(crate) idle: Duration,
    /// After so long without data, a client that reads events is sent a keep-alive; never when absent.
    pub(crate) keep_alive: Option<Duration>,
}

/// How the client finds the end of the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientFraming {
    /// It reads events, and their bytes are not counted beforehand: an error event can be added.
    Events,
    /// It waits for the whole, or knows how many bytes there are.
    Other,
}

/// A worker's body with the lease that it keeps alive.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    /// Where the body comes from; released to its pool after the last byte.
    connection: Option<WorkerConnection>,
    response: ObservedResponse,
    /// The first frame, which came with the head.
    first: Option<Frame<Bytes>>,
    /// Set where an error event can be added.
    events: Option<SseTail>,
    /// How the body ended early, while the client has not been told.
    failure: Option<PendingError>,
    timeout: IdleTimeout,
    /// Set where the client is sent keep-alives.
    keep_alive: Option<Box<KeepAlive>>,
}

/// An error that the client is told of step by step.
#[derive(Debug)]
struct PendingError {
    error: RelayError,
    /// hyper flushes when the body is pending; an error before that would discard the bytes that it holds.
    is_flushed: bool,
}

/// A body whose first frame has come.
pub(super) enum StartedBody {
    /// It is all here.
    Whole(Bytes),
    /// More is to come, or it is passed on as a stream however short it is.
    Streaming(Box<UpstreamBody>),
}

impl UpstreamBody {
    pub(crate) fn new(
        connection: WorkerConnection,
        response: ObservedResponse,
        deadlines: BodyDeadlines,
    ) -> Self {
        let route = response.lease.info.route;
        let keep_alive = deadlines.keep_alive.map(|after| Box::new(KeepAlive::new(after, route)));
        Self {
            connection: Some(connection),
            response,
            first: None,
            events: None,
            failure: None,
            timeout: IdleTimeout::new(deadlines.total, deadlines.idle),
            keep_alive,
        }
    }

    /// The body as the client gets it. Its `first` frame has come already; there is none where the body is empty, or where the
    /// client is kept alive until it comes.
    pub(super) fn start(mut self, first: Option<Frame<Bytes>>, framing: ClientFraming) -> StartedBody {
        if framing == ClientFraming::Events {
            self.events = Some(SseTail::default());
        }
        let Some(frame) = first else {
            let is_over = self.is_over();
            if let Some(keep_alive) = self.keep_alive.as_mut().filter(|_| !is_over) {
                keep_alive.send_now();
                return StartedBody::Streaming(Box::new(self));
            }
            self.complete();
            return StartedBody::Whole(Bytes::new());
        };
        self.observe(&frame);
        if self.is_over() {
            self.complete();
            if self.events.is_none() {
                return StartedBody::Whole(frame.into_data().unwrap_or_default());
            }
        }
        self.first = Some(frame);
        StartedBody::Streaming(Box::new(self))
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(failure) = &mut self.failure {
            if !std::mem::replace(&mut failure.is_flushed, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.failure.take().map(|f| Err(f.error)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        match connection.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.observe(&frame);
                // A body of known length is not polled again after its last byte, so the end is noticed here.
                if self.is_over() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(cx, error.into()),
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Pending if self.response.lease.is_router_stopping() => self.fail(cx, RelayError::Stopped),
            Poll::Pending => {
                if let Poll::Ready(event) = self.poll_keep_alive(cx) {
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                let timed_out = ready!(self.timeout.poll(cx));
                self.fail(cx, timed_out.into())
            }
        }
    }

    /// A keep-alive for the client, once one is due. It stands between whole events only.
    fn poll_keep_alive(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        match (&mut self.keep_alive, self.events) {
            (Some(keep_alive), Some(tail)) if tail.is_between_events() => keep_alive.poll(cx),
            _ => Poll::Pending,
        }
    }

    /// Takes note of a frame that passes.
    fn observe(&mut self, frame: &Frame<Bytes>) {
        self.timeout.record_activity();
        if let Some(keep_alive) = &mut self.keep_alive {
            keep_alive.record_activity();
        }
        self.response.lease.candidate.worker.record_activity();
        let Some(data) = frame.data_ref() else { return };
        self.response.observe(data);
        if let Some(tail) = &mut self.events {
            tail.push(data);
        }
    }

    /// Ends the body early; where the client reads events, with an event that says so.
    pub(super) fn fail(
        &mut self,
        cx: &mut Context<'_>,
        error: RelayError,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        self.response.lease.set_error(error.code());
        let is_workers = !matches!(error, RelayError::Stopped);
        self.abort(if is_workers { Outcome::Failed } else { Outcome::Cancelled });
        let event = self
            .events
            .as_ref()
            .map(|tail| tail.error_event(self.response.lease.info.route, &error.to_string(), error.code()));
        self.failure = Some(PendingError { error, is_flushed: event.is_none() });
        match event {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.failure.is_none() && self.is_over()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        if self.events.is_some() {
            return SizeHint::default();
        }
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, |data| data.len() as u64);
        let rest = self.connection.as_ref().map_or(SizeHint::with_exact(0), WorkerConnection::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }

    /// Whether nothing more is to come from the worker.
    fn is_over(&self) -> bool {
        self.connection.as_ref().is_none_or(WorkerConnection::is_over)
    }

    /// The body ended as it should.
    fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.response.lease.candidate.worker.transport.release(connection);
        }
        self.response.complete();
    }

    /// The body ended early.
    fn abort(&mut self, outcome: Outcome) {
        // Closing the connection is what tells the worker to stop.
        self.connection = None;
        self.response.abort(outcome);
    }
}

impl Drop for UpstreamBody {
    /// The client went away: the attempt is cancelled.
    fn drop(&mut self) {
        if !self.response.lease.is_over() {
            self.abort(Outcome::Cancelled);
        }
    }
}
