//! One connection to a worker.

use super::body_decoder::{BodyDecoder, DecodedPiece};
use super::error::{CollectError, ResponseError};
use super::request_encoder::EncodedRequest;
use super::response_head;
use bytes::{Bytes, BytesMut};
use http::response::Parts;
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

/// Longest response head, in bytes.
const MAX_HEAD: usize = 256 << 10;

const HEAD_TOO_LONG: ResponseError = ResponseError::Invalid("the head is too long");

/// Bytes per read when a response begins.
const MIN_READ: usize = 8 << 10;
/// Most bytes per read, for a response that arrives faster than it is consumed.
const MAX_READ: usize = 256 << 10;

/// With less free capacity than this, in bytes, the read buffer grows before the next read.
const MIN_CAPACITY: usize = 1 << 10;

/// Why a request got no response.
#[derive(Debug)]
pub struct SendError {
    /// The reason.
    pub error: ResponseError,
    /// The request, if no byte of it was sent.
    pub unsent: Option<EncodedRequest>,
}

/// A connection that is idle or carries one request. Dropping it closes it, which makes the worker stop.
#[derive(Debug)]
pub struct Connection<S>(Box<ConnectionState<S>>);

#[derive(Debug)]
struct ConnectionState<S> {
    wire: S,
    /// Bytes that were read and not yet decoded.
    read: BytesMut,
    /// Size of the next read, in bytes.
    want: usize,
    /// The request, until it is sent completely.
    request: Option<EncodedRequest>,
    /// Why the rest of the request could not be sent; the worker may have responded nevertheless.
    write_error: Option<io::Error>,
    framing: BodyDecoder,
    /// The connection can be reused after this response.
    keep_alive: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// An idle connection over `wire`.
    pub fn new(wire: S) -> Self {
        Self(Box::new(ConnectionState {
            wire,
            read: BytesMut::new(),
            want: MIN_READ,
            request: None,
            write_error: None,
            framing: BodyDecoder::Over,
            keep_alive: true,
        }))
    }

    /// Sends a request and waits for the response head.
    ///
    /// # Errors
    /// When the connection fails or what arrives is not HTTP/1.1.
    pub async fn send(&mut self, request: EncodedRequest) -> Result<Parts, SendError> {
        let inner = &mut *self.0;
        let asks_for_head = request.asks_for_head();
        inner.request = Some(request);
        inner.want = MIN_READ;
        let mut seen = 0;
        poll_fn(|cx| inner.poll_head(cx, &mut seen, asks_for_head)).await.map_err(|error| {
            inner.keep_alive = false;
            SendError { error, unsent: inner.request.take().filter(EncodedRequest::is_untouched) }
        })
    }

    /// Polls the next frame of the response body; `None` at its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        self.0.poll_frame(cx)
    }

    /// The next frame of the response body; `None` at its end.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, ResponseError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// Appends the rest of the body to `body`, up to `limit` bytes in all. `on_data` is called with each piece as it
    /// arrives.
    ///
    /// # Errors
    /// When the body does not arrive, or is longer.
    pub async fn collect(
        &mut self,
        mut body: BytesMut,
        limit: usize,
        mut on_data: impl FnMut(&Bytes),
    ) -> Result<Bytes, CollectError> {
        while let Some(frame) = self.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            on_data(data);
            if body.len() + data.len() > limit {
                return Err(CollectError::TooLarge(limit));
            }
            body.extend_from_slice(data);
        }
        Ok(body.freeze())
    }

    /// Whether the response has ended.
    pub fn is_over(&self) -> bool {
        self.0.framing == BodyDecoder::Over
    }

    /// How many bytes of the response body are left.
    pub fn size_hint(&self) -> SizeHint {
        self.0.framing.size_hint()
    }

    /// Whether the connection can be reused, as far as its state says; the worker may have closed it.
    pub fn is_reusable(&self) -> bool {
        let ConnectionState { read, request, framing, keep_alive, .. } = &*self.0;
        *keep_alive && *framing == BodyDecoder::Over && request.is_none() && read.is_empty()
    }

    /// Whether an idle connection is still open, without waiting. Bytes that arrive without a request count as closed.
    pub fn is_open(&mut self) -> bool {
        self.0.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ConnectionState<S> {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        seen: &mut usize,
        asked_for_head: bool,
    ) -> Poll<Result<Parts, ResponseError>> {
        self.poll_send(cx);
        if let Some(error) =
            self.write_error.take_if(|_| self.request.as_ref().is_some_and(EncodedRequest::is_untouched))
        {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if !response_head::is_plausible(&self.read) {
                return Poll::Ready(Err(ResponseError::Invalid("the response does not begin with HTTP/1")));
            }
            if let Some(end) = response_head::end(&self.read, seen) {
                if end > MAX_HEAD {
                    return Poll::Ready(Err(HEAD_TOO_LONG));
                }
                *seen = 0;
                let bytes = self.read.split_to(end).freeze();
                let Some(head) = response_head::parse(&bytes, asked_for_head)? else { continue };
                self.framing = head.framing;
                self.keep_alive &= head.keep_alive;
                return Poll::Ready(Ok(head.parts));
            }
            if self.read.len() > MAX_HEAD {
                return Poll::Ready(Err(HEAD_TOO_LONG));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(self.write_error.take().map_or(ResponseError::Closed, Into::into)));
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if self.request.is_some() {
            self.poll_send(cx);
        }
        loop {
            match self.framing.next(&mut self.read)? {
                DecodedPiece::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                DecodedPiece::End => return Poll::Ready(None),
                DecodedPiece::Needed => {}
            }
            if ready!(self.poll_fill(cx))? == 0 {
                self.framing.close()?;
            }
        }
    }

    /// Sends as much of the request as the connection takes now.
    fn poll_send(&mut self, cx: &mut Context<'_>) {
        if self.write_error.is_none() {
            self.write_error = self.try_send(cx).err();
        }
    }

    fn try_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Some(request) = self.request.as_mut().filter(|request| !request.is_sent()) {
            let wire = Pin::new(&mut self.wire);
            let sent = match &request.pieces() {
                [start, rest] if rest.is_empty() => wire.poll_write(cx, start),
                pieces => wire.poll_write_vectored(cx, pieces),
            };
            match sent {
                Poll::Pending => return Ok(()),
                Poll::Ready(sent) => match sent? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    sent => request.advance(sent),
                },
            }
        }
        if let Poll::Ready(flushed) = Pin::new(&mut self.wire).poll_flush(cx) {
            flushed?;
            self.request = None;
        }
        Ok(())
    }

    /// Reads what is available; 0 bytes mean that the worker closed the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < MIN_CAPACITY {
            self.read.reserve(self.want);
        }
        let room = self.read.capacity() - self.read.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.wire), cx, &mut self.read))?;
        if read == room {
            self.want = (self.want * 2).min(MAX_READ);
        }
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RequestEncoder;
    use super::*;
    use http::Method;
    use http::uri::PathAndQuery;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    fn post(body: &[u8]) -> EncodedRequest {
        let path = PathAndQuery::from_static("/generate");
        RequestEncoder::new(&Method::POST, "", &path, Bytes::copy_from_slice(body)).finish()
    }

    fn pair(room: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(room);
        (Connection::new(ours), theirs)
    }

    async fn body(connection: &mut Connection<DuplexStream>) -> Result<Vec<u8>, ResponseError> {
        let mut whole = Vec::new();
        while let Some(frame) = connection.frame().await {
            whole.extend_from_slice(&frame?.into_data().unwrap_or_default());
        }
        Ok(whole)
    }

    /// What the worker does after the last byte of a response.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Then {
        Nothing,
        Close,
    }

    /// The outcome of a response of these bytes: status, body, and whether the connection can be reused.
    async fn respond(wire: &[u8], then: Then) -> Result<(u16, Vec<u8>, bool), ResponseError> {
        let (mut connection, mut worker) = pair(1 << 20);
        worker.write_all(wire).await.unwrap();
        if then == Then::Close {
            worker.shutdown().await.unwrap();
        }
        let parts = connection.send(post(b"{}")).await.map_err(|failed| failed.error)?;
        let body = body(&mut connection).await?;
        Ok((parts.status.as_u16(), body, connection.is_reusable()))
    }

    #[tokio::test]
    async fn requests_reuse_the_connection() {
        let (mut connection, mut worker) = pair(7);
        for _ in 0..3 {
            assert!(connection.is_open() && connection.is_reusable());
            let response = async {
                let mut seen = vec![0; post(b"{}").pieces().iter().map(|piece| piece.len()).sum()];
                worker.read_exact(&mut seen).await.unwrap();
                assert!(seen.ends_with(b"\r\n\r\n{}"));
                worker.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
                worker.write_all(OK).await.unwrap();
            };
            let ask = async {
                let parts = connection.send(post(b"{}")).await.unwrap();
                (parts.status.as_u16(), body(&mut connection).await.unwrap())
            };
            assert_eq!(tokio::join!(ask, response).0, (200, b"hi".to_vec()));
        }
    }

    #[tokio::test]
    async fn response_may_precede_end_of_request() {
        let (mut connection, mut worker) = pair(100);
        worker.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        let parts = connection.send(post(&[b'x'; 100_000])).await.unwrap();
        assert_eq!(parts.status, 413);
        assert_eq!(body(&mut connection).await.unwrap(), b"no");
        assert!(!connection.is_reusable(), "the rest of the request would be taken for another one");
    }

    #[tokio::test]
    async fn unsent_request_is_returned() {
        let (mut connection, worker) = pair(100);
        assert!(connection.is_open());
        drop(worker);
        let failed = connection.send(post(b"{}")).await.unwrap_err();
        assert!(failed.unsent.is_some(), "{failed:?}");
        assert!(!connection.is_open() && !connection.is_reusable());
        let (mut connection, mut worker) = pair(100);
        let (response, _) = tokio::join!(connection.send(post(b"{}")), async move {
            worker.read_u8().await.unwrap();
        });
        assert!(response.unwrap_err().unsent.is_none(), "the worker has seen it");
    }

    #[tokio::test]
    async fn unsolicited_bytes_end_the_connection() {
        let (mut connection, mut worker) = pair(100);
        worker.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        assert!(!connection.is_open());
        let two = [OK, b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(respond(&two, Then::Nothing).await.unwrap(), (200, b"hi".to_vec(), false));
        assert_eq!(respond(OK, Then::Nothing).await.unwrap(), (200, b"hi".to_vec(), true));
    }

    #[tokio::test]
    async fn malformed_and_truncated_responses_differ() {
        let long = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(60_000)].concat();
        for wire in [&b"220 ready\r\n"[..], b"HTTP/2", &long] {
            let error = respond(wire, Then::Nothing).await.unwrap_err();
            assert!(matches!(error, ResponseError::Invalid(_)), "{error:?}");
        }
        for wire in [&b""[..], b"HTTP/1.1 200 O", &OK[..OK.len() - 1]] {
            let error = respond(wire, Then::Close).await.unwrap_err();
            assert!(matches!(error, ResponseError::Closed), "{error:?}");
        }
        let until_close = respond(b"HTTP/1.1 200 OK\r\n\r\nhi", Then::Close).await;
        assert_eq!(until_close.unwrap(), (200, b"hi".to_vec(), false));
    }
}
