//! The byte stream of a client connection: validates the framing of what is read, as long as that is HTTP, and bounds how long
//! a write may stall.

use super::framing_validator::FramingValidator;
use crate::response::TunnelSlot;
use crate::timer::LazyTimer;
use router_upstream::write_coalesced;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A client stream with framing validation and a write timeout.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    validator: FramingValidator,
    /// Says when what is read is no longer HTTP.
    tunnel: TunnelSlot,
    /// How long a write may make no progress.
    write_timeout: Duration,
    /// When the present stall of a write ends; absent while writes make progress.
    stall_ends: Option<Instant>,
    timer: LazyTimer,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, write_timeout: Duration, tunnel: TunnelSlot) -> Self {
        Self {
            stream,
            validator: FramingValidator::default(),
            tunnel,
            write_timeout,
            stall_ends: None,
            timer: LazyTimer::default(),
        }
    }

    /// The outcome of a write, or an error when the client has read nothing for the write timeout.
    fn bound_write<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stall_ends = None;
            return outcome;
        }
        let stall_ends = *self.stall_ends.get_or_insert_with(|| Instant::now() + self.write_timeout);
        ready!(self.timer.poll(stall_ends, cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let ambiguous = || Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "ambiguous framing")));
        if self.validator.is_rejected() {
            return ambiguous();
        }
        if self.tunnel.is_open() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = buf.filled_mut().get_mut(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let read = self.validator.check(new);
        if read == 0 {
            return ambiguous();
        }
        buf.set_filled(before + read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.bound_write(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = write_coalesced(Pin::new(&mut self.stream), cx, slices);
        self.bound_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.bound_write(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bound_write(cx, outcome)
    }
}
