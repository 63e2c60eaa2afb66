//! The body of a response on an HTTP/2 stream: in pieces, so that the client holds back the worker and not a buffer, and watched,
//! so that a client that takes nothing is noticed.

use crate::response::{RelayError, RouterBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Largest piece of a body that is given to a stream at once, in bytes. So much can be left behind on a stream whose client opens
/// its window no further, when the request is over.
const PIECE: usize = 16 << 10;

/// How far a response has come.
#[derive(Clone, Debug, Default)]
pub(super) struct StreamProgress(Arc<Mutex<Progress>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Progress {
    /// The client waits for more.
    #[default]
    ClientWaits,
    /// The client has been given a piece, and since then has not asked for the next one.
    ClientHas { since: Instant, is_last: bool },
    /// The body has ended.
    Ended,
}

impl StreamProgress {
    /// Since when the client has taken nothing, while there is something to take.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        match *self.0.lock() {
            Progress::ClientHas { since, .. } => Some(since),
            Progress::ClientWaits | Progress::Ended => None,
        }
    }

    /// Whether the response was given to its end.
    pub(super) fn is_ended(&self) -> bool {
        matches!(*self.0.lock(), Progress::Ended | Progress::ClientHas { is_last: true, .. })
    }
}

/// A response's body on one stream.
#[derive(Debug)]
pub(super) struct StreamBody {
    body: RouterBody,
    /// What has not been given of the last frame.
    rest: Bytes,
    progress: StreamProgress,
}

impl StreamBody {
    /// A body that keeps `progress`.
    pub(super) fn new(body: RouterBody, progress: StreamProgress) -> Self {
        if body.is_end_stream() {
            *progress.0.lock() = Progress::Ended;
        }
        Self { body, rest: Bytes::new(), progress }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Pending => {
                    *this.progress.0.lock() = Progress::ClientWaits;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end @ Poll::Ready(None | Some(Err(_))) => {
                    *this.progress.0.lock() = Progress::Ended;
                    return end;
                }
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        let is_last = this.rest.is_empty() && this.body.is_end_stream();
        *this.progress.0.lock() = Progress::ClientHas { since: Instant::now(), is_last };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
