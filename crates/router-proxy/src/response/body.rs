//! The body of a response to a client.

use super::split_body::{PrefillTail, SplitBody};
use super::upstream_body::{ClientFraming, RelayError, StartedBody, UpstreamBody};
use crate::admission::Permit;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use router_telemetry::AccessEntry;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// The body of a response to a client.
#[derive(Debug)]
pub(crate) struct RouterBody {
    inner: Inner,
    /// Released when the body has ended or is dropped.
    _permit: Option<Permit>,
    /// The line in the access log, written when the body is dropped: after `inner`, whose lease has its say first.
    entry: Option<Box<AccessEntry>>,
}

#[derive(Debug)]
enum Inner {
    Full(Bytes),
    Upstream(Box<UpstreamBody>),
    Split(Box<SplitBody>),
    /// What the router itself sends from time to time.
    Events(Receiver<Bytes>),
}

impl RouterBody {
    /// A body that is there already.
    pub(crate) const fn full(bytes: Bytes) -> Self {
        Self { inner: Inner::Full(bytes), _permit: None, entry: None }
    }

    /// A body of what comes through a channel, until that is closed.
    pub(crate) const fn events(channel: Receiver<Bytes>) -> Self {
        Self { inner: Inner::Events(channel), _permit: None, entry: None }
    }

    /// A worker's body whose `first` frame has come, passed on as it arrives.
    pub(crate) fn upstream(body: UpstreamBody, first: Option<Frame<Bytes>>, framing: ClientFraming) -> Self {
        let inner = match body.start(first, framing) {
            StartedBody::Whole(bytes) => Inner::Full(bytes),
            StartedBody::Streaming(body) => Inner::Upstream(body),
        };
        Self { inner, _permit: None, entry: None }
    }

    /// This body, which holds `permit` until it ends.
    pub(crate) fn holding(self, permit: Option<Permit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// This body, with which the line of the request in the access log ends.
    pub(crate) fn logged(self, entry: Box<AccessEntry>) -> Self {
        Self { entry: Some(entry), ..self }
    }

    /// This body, tied to what the prefill leg of its request still has to do.
    pub(crate) fn tied_to(self, prefill: PrefillTail) -> Self {
        let inner = match self.inner {
            Inner::Full(bytes) => Inner::Full(prefill.finish(&bytes)),
            Inner::Upstream(body) => Inner::Split(Box::new(SplitBody::new(body, prefill))),
            other @ (Inner::Split(_) | Inner::Events(_)) => other,
        };
        Self { inner, ..self }
    }
}

impl Body for RouterBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let polled = match &mut self.inner {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Upstream(body) => body.poll_frame(cx),
            Inner::Split(body) => body.poll_frame(cx),
            Inner::Events(channel) => {
                channel.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
            }
        };
        if let Some(entry) = &mut self.entry
            && let Poll::Ready(Some(Ok(frame))) = &polled
        {
            entry.count_bytes(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Upstream(body) => body.is_end_stream(),
            Inner::Split(body) => body.is_end_stream(),
            Inner::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Upstream(body) => body.size_hint(),
            Inner::Split(body) => body.size_hint(),
            Inner::Events(_) => SizeHint::default(),
        }
    }
}
