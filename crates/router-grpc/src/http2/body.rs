//! The body of one HTTP/2 response.

use super::connection::ActiveStream;
use crate::error::TransportError;
use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The data of a response as it comes, then its trailers. Dropping it resets the stream, which makes the worker stop.
#[derive(Debug)]
pub(crate) struct H2Body {
    received: RecvStream,
    /// The stream counts as open on its connection until this goes.
    _active: ActiveStream,
}

impl H2Body {
    pub(crate) const fn new(received: RecvStream, active: ActiveStream) -> Self {
        Self { received, _active: active }
    }
}

impl Body for H2Body {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if let Some(data) = ready!(self.received.poll_data(cx)) {
            let data = data?;
            // It is taken when it is asked for, so a client that reads slowly holds the worker back.
            self.received.flow_control().release_capacity(data.len())?;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = ready!(self.received.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }
}

/// Where the messages of a call come from.
#[derive(Debug)]
pub(crate) enum CallBody {
    /// A stream of HTTP/2.
    H2(H2Body),
    /// Frames that a test has written down.
    #[cfg(test)]
    Written(std::collections::VecDeque<Frame<Bytes>>),
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::H2(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            #[cfg(test)]
            Self::Written(frames) => Poll::Ready(frames.pop_front().map(Ok)),
        }
    }
}
