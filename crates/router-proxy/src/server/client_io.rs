//! The byte stream of a client connection: tells HTTP/2 from HTTP/1.1 by its first bytes, validates the framing of what is read,
//! as long as that is HTTP/1.1, and bounds how long a write may stall.

use super::framing_validator::FramingValidator;
use crate::response::TunnelSlot;
use crate::timer::LazyTimer;
use bytes::{Buf as _, Bytes};
use router_upstream::write_coalesced;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a client that speaks HTTP/2 sends first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that are read at once behind the beginning of a preface.
const PART: usize = 256;

/// What a connection may begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocols {
    Http1,
    Http2,
    /// HTTP/2 if it begins with the preface, else HTTP/1.1.
    Both,
}

/// A client stream with framing validation and a write timeout.
#[derive(Debug)]
pub(super) struct ClientIo<S> {
    stream: S,
    protocol: Protocol,
    /// Says when what is read is no longer HTTP.
    tunnel: TunnelSlot,
    /// How long a write may make no progress.
    write_timeout: Duration,
    /// When the present stall of a write ends; absent while writes make progress.
    stall_ends: Option<Instant>,
    timer: LazyTimer,
}

/// What is read.
#[derive(Debug)]
enum Protocol {
    /// Not known yet: so many bytes have come, all of them of the preface. They have been given to nobody.
    Opening(usize),
    Http1(FramingValidator),
    /// These bytes, then the stream's.
    Http2(Bytes),
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, write_timeout: Duration, protocols: Protocols, tunnel: TunnelSlot) -> Self {
        let protocol = match protocols {
            Protocols::Both => Protocol::Opening(0),
            Protocols::Http1 => Protocol::Http1(FramingValidator::default()),
            Protocols::Http2 => Protocol::Http2(Bytes::new()),
        };
        Self { stream, protocol, tunnel, write_timeout, stall_ends: None, timer: LazyTimer::default() }
    }

    /// Whether the client speaks HTTP/2. If that is found out, the read in which it is fails, and the next ones give all from the
    /// preface on.
    pub(super) const fn is_http2(&self) -> bool {
        matches!(self.protocol, Protocol::Http2(_))
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

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Reads into `buf` until it is known that the client speaks HTTP/1.1, or fails because it speaks HTTP/2.
    fn poll_opening(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while let Protocol::Opening(held) = self.protocol {
            // Usually all comes at once, and is read to where it belongs.
            if held == 0 {
                ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            } else {
                let mut part = [0; PART];
                let room = buf.remaining().saturating_sub(held).min(PART);
                let mut next = ReadBuf::new(&mut part[..room]);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut next))?;
                buf.put_slice(&PREFACE[..held]);
                buf.put_slice(next.filled());
            }
            let all = buf.filled().get(before..).unwrap_or_default();
            let matching = all.iter().zip(PREFACE).take_while(|(came, due)| came == due).count();
            if matching == PREFACE.len() {
                self.protocol = Protocol::Http2(Bytes::copy_from_slice(all));
                buf.set_filled(before);
                return Poll::Ready(Err(io::Error::other("the client speaks HTTP/2")));
            }
            self.protocol = if matching < all.len() || matching == held {
                Protocol::Http1(FramingValidator::default())
            } else {
                buf.set_filled(before);
                Protocol::Opening(matching)
            };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ambiguous = || Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "ambiguous framing")));
        let before = buf.filled().len();
        match &mut this.protocol {
            Protocol::Opening(_) => ready!(this.poll_opening(cx, buf))?,
            Protocol::Http1(validator) if validator.is_rejected() => return ambiguous(),
            Protocol::Http1(_) if !this.tunnel.is_open() => {
                ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            }
            Protocol::Http2(first) if !first.is_empty() => {
                let given = first.len().min(buf.remaining());
                buf.put_slice(&first[..given]);
                first.advance(given);
                return Poll::Ready(Ok(()));
            }
            Protocol::Http1(_) | Protocol::Http2(_) => return Pin::new(&mut this.stream).poll_read(cx, buf),
        }
        let new = buf.filled_mut().get_mut(before..).unwrap_or_default();
        let Protocol::Http1(validator) = &mut this.protocol else { return Poll::Ready(Ok(())) };
        if new.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let read = validator.check(new);
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
        if matches!(&self.protocol, Protocol::Http2(first) if !first.is_empty()) {
            // HTTP/1.1 ends here, and the connection begins.
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.bound_write(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tokio::io::AsyncReadExt as _;

    /// What is read of a connection whose bytes come in these parts, and whether it is HTTP/2.
    async fn read(parts: &[&[u8]]) -> (bool, String) {
        let mut parts: VecDeque<_> = parts.iter().map(|part| part.to_vec()).collect();
        let stream = ScriptedStream(std::mem::take(&mut parts));
        let (timeout, slot) = (Duration::from_secs(1), TunnelSlot::default());
        let mut io = ClientIo::new(stream, timeout, Protocols::Both, slot);
        let mut seen = Vec::new();
        let first = io.read_to_end(&mut seen).await;
        assert_eq!(first.is_err(), io.is_http2());
        if io.is_http2() {
            assert!(seen.is_empty(), "nobody else may see it");
            io.read_to_end(&mut seen).await.unwrap();
        }
        (io.is_http2(), String::from_utf8(seen).unwrap())
    }

    /// Each read gives one part.
    #[derive(Debug)]
    struct ScriptedStream(VecDeque<Vec<u8>>);

    impl AsyncRead for ScriptedStream {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let part = self.0.pop_front().unwrap_or_default();
            buf.put_slice(&part);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn preface_is_found_however_it_arrives() {
        let whole = [&PREFACE[..], b"frames"].concat();
        for part in [1, 2, 5, 23, 24, 25, 30] {
            let parts: Vec<_> = whole.chunks(part).collect();
            assert_eq!(read(&parts).await, (true, String::from_utf8(whole.clone()).unwrap()), "{part}");
        }
    }

    #[tokio::test]
    async fn other_beginnings_pass_as_they_are() {
        for text in [
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\n\r\n",
            "PRI / HTTP/1.1\r\nhost: a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r!",
            "PRI * HT",
            "",
        ] {
            for part in [1, 3, 24, 100] {
                let parts: Vec<_> = text.as_bytes().chunks(part).collect();
                assert_eq!(read(&parts).await, (false, text.to_owned()), "{part}");
            }
        }
    }
}
