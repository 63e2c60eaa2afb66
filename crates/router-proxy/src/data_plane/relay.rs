//! A worker's answer on its way to the client: passed on frame by frame, unmodified, and watched.

use super::body::RouterBody;
use crate::http1::AnswerError;
use crate::lease::Lease;
use crate::workers::Connection;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::{Frame, SizeHint};
use router_core::{AttemptResult, LoadSource, Outcome};
use router_protocol::{LoadFigures, ResponseFacts, StreamObserver};
use smallvec::SmallVec;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// Larger answers that are not streams are passed on without a look at their token counts.
const MAX_WATCHED: usize = 8 << 20;

/// Why a relayed body ended early. The client sees an error event where it reads events, and a cut connection; never a
/// fake end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// The worker's connection broke.
    #[error("the worker cut its answer short")]
    Worker(#[from] AnswerError),
    /// The request's time ran out.
    #[error("the request's time ran out")]
    Timeout,
    /// The worker that read the prompts failed before all were handed over.
    #[error("the prefill worker failed before all prompts were handed over")]
    Prefill,
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
        }
    }
}

/// What is learned from the bytes that pass.
#[derive(Debug)]
pub(super) enum Watch {
    /// Nothing: an error answer, or a route that teaches nothing.
    Nothing,
    /// A whole JSON answer.
    Whole { chunks: SmallVec<[Bytes; 2]>, len: usize },
    /// A stream of events.
    Stream(StreamObserver),
}

/// A worker's body with the lease that it keeps alive.
#[derive(Debug)]
pub(super) struct Relay {
    /// Brings the body; back in the pool after its last byte.
    connection: Option<Connection>,
    lease: Lease,
    watch: Watch,
    status: StatusCode,
    /// Load news from the answer's headers.
    load: Option<LoadFigures>,
    /// The first frame, which came with the head.
    first: Option<Frame<Bytes>>,
    /// Set where the client reads events, and their bytes are not counted beforehand.
    events: Option<Tail>,
    /// How the body ended early.
    failure: Option<Failure>,
    alarm: Alarm,
}

/// How a body ended early, told to the client step by step.
#[derive(Debug)]
struct Failure {
    error: RelayError,
    /// The server sends what it holds only when it has to wait; an error at once would swallow it.
    flushed: bool,
}

impl Relay {
    /// An answer that ends, at the latest, when the first of `bounds` has come or nothing came for the second.
    pub(super) fn new(
        connection: Connection,
        lease: Lease,
        (watch, status): (Watch, StatusCode),
        bounds: (Instant, Duration),
    ) -> Self {
        Self {
            connection: Some(connection),
            lease,
            watch,
            status,
            load: None,
            first: None,
            events: None,
            failure: None,
            alarm: Alarm::new(bounds),
        }
    }

    /// The same, with load news from the answer's headers.
    pub(super) fn with_load(mut self, load: Option<LoadFigures>) -> Self {
        self.load = load;
        self
    }

    /// The body as the client gets it, of which the first frame has come already.
    pub(super) fn begin(mut self, first: Option<Frame<Bytes>>, kind: Kind) -> RouterBody {
        if kind == Kind::Events {
            self.events = Some(Tail::default());
        }
        let Some(frame) = first else {
            self.complete();
            return RouterBody::full(Bytes::new());
        };
        self.notice(&frame);
        if self.is_over() {
            self.complete();
            // A stream is passed on as one, however short it is.
            if self.events.is_none() {
                return RouterBody::full(frame.into_data().unwrap_or_default());
            }
        }
        self.first = Some(frame);
        RouterBody::relay(self)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if let Some(failure) = &mut self.failure {
            if !std::mem::replace(&mut failure.flushed, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(self.failure.take().map(|f| Err(f.error)));
        }
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        match connection.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.notice(&frame);
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
            Poll::Pending => {
                let error = ready!(self.alarm.poll(cx));
                self.fail(cx, error)
            }
        }
    }

    /// Takes note of a frame that passes.
    fn notice(&mut self, frame: &Frame<Bytes>) {
        self.alarm.heard();
        self.lease.worker.heard();
        let Some(data) = frame.data_ref() else { return };
        self.lease.byte_came();
        self.watch.push(data);
        if let Some(tail) = &mut self.events {
            tail.push(data);
        }
    }

    /// Ends the body early: where the client reads events, with one that says so.
    pub(super) fn fail(
        &mut self,
        cx: &mut Context<'_>,
        error: RelayError,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        self.lease.blame(error.code());
        self.cut(Outcome::Failed);
        let event = self.events.as_ref().map(|tail| tail.error_event(&error));
        self.failure = Some(Failure { error, flushed: event.is_none() });
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
        let rest = self.rest();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }

    /// Whether nothing more is to come from the worker.
    fn is_over(&self) -> bool {
        self.connection.as_ref().is_none_or(Connection::is_over)
    }

    /// How many bytes are to come from it.
    fn rest(&self) -> SizeHint {
        self.connection.as_ref().map_or(SizeHint::with_exact(0), Connection::size_hint)
    }

    /// The answer ended as it should.
    fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.lease.worker.pool.put(connection);
        }
        let watch = std::mem::replace(&mut self.watch, Watch::Nothing);
        let streamed = if matches!(watch, Watch::Stream(_)) { Streamed::Yes } else { Streamed::No };
        let facts = watch.facts();
        let outcome = outcome(self.status, facts.as_ref(), streamed);
        self.finish(outcome, facts);
    }

    /// The answer ended early; what it said so far still counts as far as it goes.
    fn cut(&mut self, outcome: Outcome) {
        // Closing the connection is what tells the worker to stop.
        self.connection = None;
        let watch = std::mem::replace(&mut self.watch, Watch::Nothing);
        let facts = match watch {
            Watch::Stream(_) => watch.facts(),
            Watch::Nothing | Watch::Whole { .. } => None,
        };
        self.finish(outcome, facts);
    }

    fn finish(&mut self, outcome: Outcome, facts: Option<ResponseFacts>) {
        let now = self.lease.now();
        let facts = facts.unwrap_or_default();
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

impl Drop for Relay {
    /// The client went away: what was learned from a stream so far is kept, the rest is a cancellation.
    fn drop(&mut self) {
        if !self.lease.is_over() {
            self.cut(Outcome::Cancelled);
        }
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

    fn facts(self) -> Option<ResponseFacts> {
        match self {
            Self::Nothing => None,
            Self::Stream(stream) => Some(stream.finish()),
            Self::Whole { chunks, len } => Some(match chunks.as_slice() {
                [one] => router_protocol::read_response(one),
                many => {
                    let mut joined = BytesMut::with_capacity(len);
                    many.iter().for_each(|c| joined.extend_from_slice(c));
                    router_protocol::read_response(&joined)
                }
            }),
        }
    }
}

/// What an answer that arrived whole says about its worker. A 200 that carries an error is judged by the error, and a
/// stream without a single event (SGLang 0.4.10 with a full queue) is none.
fn outcome(status: StatusCode, facts: Option<&ResponseFacts>, streamed: Streamed) -> Outcome {
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

/// What a client makes of an answer's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// It reads events.
    Events,
    /// It waits for the whole, or knows how many bytes there are.
    Other,
}

/// The last bytes of a stream of events.
#[derive(Clone, Copy, Debug)]
struct Tail(u32);

impl Default for Tail {
    /// As after an event.
    fn default() -> Self {
        Self(0x0A0A)
    }
}

impl Tail {
    fn push(&mut self, data: &[u8]) {
        let last = &data[data.len().saturating_sub(4)..];
        self.0 = last.iter().fold(self.0, |tail, byte| tail << 8 | u32::from(*byte));
    }

    /// An event that tells of `error`, after a blank line where the one before has not ended.
    fn error_event(&self, error: &RelayError) -> Bytes {
        let ended = self.0 & 0xFFFF == 0x0A0A || self.0 == 0x0D0A_0D0A;
        let body = router_protocol::error_body(&error.to_string(), "bad_gateway", error.code());
        let mut event = BytesMut::with_capacity(body.len() + 10);
        event.extend_from_slice(if ended { b"data: " } else { b"\n\ndata: " });
        event.extend_from_slice(&body);
        event.extend_from_slice(b"\n\n");
        event.freeze()
    }
}

/// Rings when a request's time is over, or nothing came for too long.
#[derive(Debug)]
struct Alarm {
    deadline: Instant,
    idle: Duration,
    /// Armed only when the worker makes us wait, and then left alone until it rings: setting it anew for every event
    /// would cost each of them. So a silence is noticed after one to two times the bound.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether anything came since it was armed.
    heard: bool,
}

impl Alarm {
    const fn new((deadline, idle): (Instant, Duration)) -> Self {
        Self { deadline, idle, sleep: None, heard: false }
    }

    const fn heard(&mut self) {
        self.heard = true;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<RelayError> {
        let next = |now: Instant| self.deadline.min(now + self.idle);
        let sleep = self.sleep.get_or_insert_with(|| {
            self.heard = false;
            Box::pin(tokio::time::sleep_until(next(Instant::now())))
        });
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(RelayError::Timeout);
            }
            if !std::mem::take(&mut self.heard) {
                return Poll::Ready(RelayError::Idle(self.idle));
            }
            sleep.as_mut().reset(next(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_event_stands_by_itself() {
        for (parts, start) in [
            (&["data: a\n\n"][..], "data: {"),
            (&["data: a\n", "\n"], "data: {"),
            (&["data: a\r\n\r\n"], "data: {"),
            (&["data: {\"text\":\"a"], "\n\ndata: {"),
            (&["data: a\n"], "\n\ndata: {"),
        ] {
            let mut tail = Tail::default();
            parts.iter().for_each(|part| tail.push(part.as_bytes()));
            let event = tail.error_event(&RelayError::Timeout);
            let text = std::str::from_utf8(&event).unwrap();
            assert!(text.starts_with(start) && text.ends_with("}}\n\n"), "{parts:?}: {text}");
        }
    }
}
