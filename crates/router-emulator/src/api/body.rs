//! Response bodies: whole, streamed event by event, or broken on demand.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::api::faulty_body::FaultyBody;
use crate::api::formats::{ChoiceStream, EventWriter};
use crate::engine_task::progress::WakeOn;

/// A response with its body.
pub(crate) type HttpResponse = http::Response<ResponseBody>;

/// A fault ends the connection before the response is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the response is aborted by a fault")]
pub(crate) struct AbortedBody;

impl From<Infallible> for AbortedBody {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Body of every response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// In one frame; `None` once it has been sent.
    Whole(Option<Bytes>),
    /// Server-sent events as tokens come out.
    Events(Box<EventStream>),
    /// One of the above, broken by a fault.
    Faulty(Box<FaultyBody>),
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = AbortedBody;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AbortedBody>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Events(events) => events.poll_events(cx).map(|bytes| bytes.map(|b| Ok(Frame::data(b)))),
            Self::Faulty(faulty) => faulty.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Events(_) => SizeHint::default(),
            Self::Faulty(faulty) => faulty.size_hint(),
        }
    }
}

/// The events of one streamed response. Dropped early, it aborts what it still waits for.
#[derive(Debug)]
pub(crate) struct EventStream {
    writer: EventWriter,
    streams: Vec<ChoiceStream>,
    over: bool,
    /// Size of the last frame, so that the next buffer is allocated once.
    last_len: usize,
}

impl EventStream {
    pub(crate) fn new(writer: EventWriter, streams: Vec<ChoiceStream>) -> Self {
        Self { writer, streams, over: false, last_len: 256 }
    }

    /// Everything new in all streams as one frame; `None` at the end.
    fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        let mut out = Vec::with_capacity(self.last_len + 64);
        let mut open = false;
        for choice in &mut self.streams {
            if choice.is_over() {
                continue;
            }
            let progress = choice.handle.poll_progress(cx, WakeOn::Tokens);
            self.writer.write(choice, &progress, &mut out);
            open |= !choice.is_over();
        }
        if !open {
            self.over = true;
            self.writer.write_end(&self.streams, &mut out);
        }
        if out.is_empty() {
            return Poll::Pending;
        }
        self.last_len = out.len();
        Poll::Ready(Some(out.into()))
    }
}
