//! The open streams of one connection, which its task drives.

use super::response_body::StreamProgress;
use crate::timer::LazyTimer;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hyper::rt::Executor;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Takes the streams that hyper opens, until the connection's task takes them over.
#[derive(Clone)]
pub(super) struct NewStreams {
    waiting: Arc<Mutex<Waiting>>,
    /// How long a client may take nothing of a response.
    write_timeout: Duration,
}

#[derive(Default)]
struct Waiting {
    /// The progress of the request that hyper has just handed over; its stream follows at once.
    progress: StreamProgress,
    streams: Vec<OpenStream>,
}

impl NewStreams {
    /// Streams whose clients may take nothing of a response for `write_timeout`.
    pub(super) fn new(write_timeout: Duration) -> Self {
        Self { waiting: Arc::default(), write_timeout }
    }

    /// The next stream has this progress.
    pub(super) fn announce(&self, progress: StreamProgress) {
        self.waiting.lock().progress = progress;
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for NewStreams {
    fn execute(&self, stream: F) {
        let mut waiting = self.waiting.lock();
        let progress = std::mem::take(&mut waiting.progress);
        let (stream, timer) = (Box::pin(stream), LazyTimer::default());
        waiting.streams.push(OpenStream { stream, progress, write_timeout: self.write_timeout, timer });
    }
}

/// One request and its response. It is dropped, and thereby reset, when its client takes nothing for too long.
struct OpenStream {
    stream: Pin<Box<dyn Future<Output = ()> + Send>>,
    progress: StreamProgress,
    write_timeout: Duration,
    timer: LazyTimer,
}

/// How a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StreamEnd {
    /// The response was sent, or as much of it as there was.
    Responded,
    /// The client did not wait for the end of the response.
    Cancelled,
}

/// The open streams of one connection.
pub(super) struct OpenStreams {
    new: NewStreams,
    open: FuturesUnordered<OpenStream>,
}

impl Future for OpenStream {
    type Output = StreamEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        let Self { stream, progress, write_timeout, timer } = &mut *self;
        if stream.as_mut().poll(cx).is_ready() {
            let end = if progress.is_ended() { StreamEnd::Responded } else { StreamEnd::Cancelled };
            return Poll::Ready(end);
        }
        match progress.stalled_since() {
            Some(since) => timer.poll(since + *write_timeout, cx).map(|()| {
                tracing::debug!("a client took nothing of its response");
                StreamEnd::Cancelled
            }),
            None => Poll::Pending,
        }
    }
}

impl OpenStreams {
    /// The streams that come in by `new`.
    pub(super) fn new(new: NewStreams) -> Self {
        Self { new, open: FuturesUnordered::new() }
    }

    /// Whether no request is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Drives the streams, and returns the next that has ended.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        match self.open.poll_next_unpin(cx) {
            Poll::Ready(Some(end)) => Poll::Ready(end),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Takes over what hyper has opened. Returns whether there was anything.
    pub(super) fn take_new(&mut self) -> bool {
        let new = std::mem::take(&mut self.new.waiting.lock().streams);
        let is_any = !new.is_empty();
        self.open.extend(new);
        is_any
    }

    /// Lets each stream look again at what it waits for.
    pub(super) fn wake_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.open.extend(open);
    }
}
