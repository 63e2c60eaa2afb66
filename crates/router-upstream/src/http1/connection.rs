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

/// An answer's head has at most so many bytes.
const MAX_HEAD: usize = 256 << 10;

/// So many bytes are read at once: the first when an answer begins, the last when it comes faster than it is read.
const LEAST_READ: usize = 8 << 10;
const MOST_READ: usize = 256 << 10;

/// With less room than this, in bytes, nothing is read into what is left of a buffer.
const TIGHT: usize = 1 << 10;

/// Why a request was not answered.
#[derive(Debug)]
pub struct SendError {
    pub error: ResponseError,
    /// The request, if not a byte of it was sent.
    pub unsent: Option<EncodedRequest>,
}

/// A connection, idle or at work for one request. Dropping it is what tells a worker to stop.
#[derive(Debug)]
pub struct Connection<S>(Box<Inner<S>>);

#[derive(Debug)]
struct Inner<S> {
    wire: S,
    /// What was read and not handed over.
    read: BytesMut,
    /// How many bytes to read next.
    want: usize,
    /// The request, until all of it is sent.
    request: Option<EncodedRequest>,
    /// Why the rest of the request could not be sent; the worker may have answered nevertheless.
    unsendable: Option<io::Error>,
    framing: BodyDecoder,
    /// It can take another request after this one.
    keeps: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// An idle one.
    pub fn new(wire: S) -> Self {
        Self(Box::new(Inner {
            wire,
            read: BytesMut::new(),
            want: LEAST_READ,
            request: None,
            unsendable: None,
            framing: BodyDecoder::Over,
            keeps: true,
        }))
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, request: EncodedRequest) -> Result<Parts, SendError> {
        let inner = &mut *self.0;
        let asks_for_head = request.asks_for_head();
        inner.request = Some(request);
        inner.want = LEAST_READ;
        let mut seen = 0;
        poll_fn(|cx| inner.poll_head(cx, &mut seen, asks_for_head)).await.map_err(|error| {
            inner.keeps = false;
            SendError { error, unsent: inner.request.take().filter(EncodedRequest::is_untouched) }
        })
    }

    /// The next frame of the answer's body.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        self.0.poll_frame(cx)
    }

    /// The same, awaited.
    pub async fn frame(&mut self) -> Option<Result<Frame<Bytes>, ResponseError>> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// The rest of the body as one piece, appended to `body`, up to `limit` bytes in all. `on_data` sees each piece as
    /// it arrives.
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

    /// Whether all of the answer has been handed over.
    pub fn is_over(&self) -> bool {
        self.0.framing == BodyDecoder::Over
    }

    /// How many bytes of the answer's body are to come.
    pub fn size_hint(&self) -> SizeHint {
        self.0.framing.size_hint()
    }

    /// Whether it can take another request, as far as it knows itself.
    pub fn is_reusable(&self) -> bool {
        let Inner { read, request, framing, keeps, .. } = &*self.0;
        *keeps && *framing == BodyDecoder::Over && request.is_none() && read.is_empty()
    }

    /// Whether an idle one is still open, as far as can be known without a wait. Nothing may come before it is asked.
    pub fn is_open(&mut self) -> bool {
        self.0.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        seen: &mut usize,
        asked_for_head: bool,
    ) -> Poll<Result<Parts, ResponseError>> {
        self.push(cx);
        if let Some(error) =
            self.unsendable.take_if(|_| self.request.as_ref().is_some_and(EncodedRequest::is_untouched))
        {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if !response_head::is_plausible(&self.read) {
                return Poll::Ready(Err(ResponseError::Invalid("it does not begin with HTTP/1")));
            }
            if let Some(end) = response_head::end(&self.read, seen) {
                *seen = 0;
                let bytes = self.read.split_to(end).freeze();
                let Some(head) = response_head::parse(&bytes, asked_for_head)? else { continue };
                self.framing = head.framing;
                self.keeps &= head.keeps;
                return Poll::Ready(Ok(head.parts));
            }
            if self.read.len() > MAX_HEAD {
                return Poll::Ready(Err(ResponseError::Invalid("the head is too long")));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(self.unsendable.take().map_or(ResponseError::Closed, Into::into)));
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if self.request.is_some() {
            self.push(cx);
        }
        loop {
            match self.framing.next(&mut self.read)? {
                DecodedPiece::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                DecodedPiece::AttemptEnd => return Poll::Ready(None),
                DecodedPiece::Needed => {}
            }
            if ready!(self.poll_fill(cx))? == 0 {
                self.framing.close()?;
            }
        }
    }

    /// Sends what can be sent of the request now.
    fn push(&mut self, cx: &mut Context<'_>) {
        if self.unsendable.is_none() {
            self.unsendable = self.send_on(cx).err();
        }
    }

    fn send_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
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

    /// Reads what there is; 0 bytes mean that the worker closed the connection.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.read.capacity() - self.read.len() < TIGHT {
            self.read.reserve(self.want);
        }
        let room = self.read.capacity() - self.read.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.wire), cx, &mut self.read))?;
        if read == room {
            self.want = (self.want * 2).min(MOST_READ);
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
    use router_core::Rng;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

    fn post(body: &[u8]) -> EncodedRequest {
        let path = PathAndQuery::from_static("/generate");
        RequestEncoder::new((&Method::POST, ""), &path, Bytes::copy_from_slice(body)).end()
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

    /// What happens after the last byte of an answer.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Then {
        Nothing,
        Close,
    }

    /// What comes of an answer of these bytes: status, body, and whether the connection can be used again.
    async fn answered(wire: &[u8], then: Then) -> Result<(u16, Vec<u8>, bool), ResponseError> {
        let (mut connection, mut worker) = pair(1 << 20);
        worker.write_all(wire).await.unwrap();
        if then == Then::Close {
            worker.shutdown().await.unwrap();
        }
        let parts = connection.send(post(b"{}")).await.map_err(|unanswered| unanswered.error)?;
        let body = body(&mut connection).await?;
        Ok((parts.status.as_u16(), body, connection.is_reusable()))
    }

    #[tokio::test]
    async fn one_request_after_another_goes_over_it() {
        let (mut connection, mut worker) = pair(7);
        for _ in 0..3 {
            assert!(connection.is_open() && connection.is_reusable());
            let answer = async {
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
            assert_eq!(tokio::join!(ask, answer).0, (200, b"hi".to_vec()));
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_before_the_request_has_gone() {
        let (mut connection, mut worker) = pair(100);
        worker.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
        let parts = connection.send(post(&[b'x'; 100_000])).await.unwrap();
        assert_eq!(parts.status, 413);
        assert_eq!(body(&mut connection).await.unwrap(), b"no");
        assert!(!connection.is_reusable(), "the rest of the request would be taken for another one");
    }

    #[tokio::test]
    async fn a_request_of_which_not_a_byte_was_sent_comes_back() {
        let (mut connection, worker) = pair(100);
        assert!(connection.is_open());
        drop(worker);
        let unanswered = connection.send(post(b"{}")).await.unwrap_err();
        assert!(unanswered.unsent.is_some(), "{unanswered:?}");
        assert!(!connection.is_open() && !connection.is_reusable());
        let (mut connection, mut worker) = pair(100);
        let (answer, _) = tokio::join!(connection.send(post(b"{}")), async move {
            worker.read_u8().await.unwrap();
        });
        assert!(answer.unwrap_err().unsent.is_none(), "the worker has seen it");
    }

    #[tokio::test]
    async fn what_the_worker_sends_unasked_ends_the_connection() {
        let (mut connection, mut worker) = pair(100);
        worker.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        assert!(!connection.is_open());
        let two = [OK, b"HTTP/1.1 200 OK\r\n\r\n"].concat();
        assert_eq!(answered(&two, Then::Nothing).await.unwrap(), (200, b"hi".to_vec(), false));
        assert_eq!(answered(OK, Then::Nothing).await.unwrap(), (200, b"hi".to_vec(), true));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error_of_its_kind() {
        let long = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(60_000)].concat();
        for wire in [&b"220 ready\r\n"[..], b"HTTP/2", &long] {
            let error = answered(wire, Then::Nothing).await.unwrap_err();
            assert!(matches!(error, ResponseError::Invalid(_)), "{error:?}");
        }
        for wire in [&b""[..], b"HTTP/1.1 200 O", &OK[..OK.len() - 1]] {
            let error = answered(wire, Then::Close).await.unwrap_err();
            assert!(matches!(error, ResponseError::Closed), "{error:?}");
        }
        let until_close = answered(b"HTTP/1.1 200 OK\r\n\r\nhi", Then::Close).await;
        assert_eq!(until_close.unwrap(), (200, b"hi".to_vec(), false));
    }

    /// The answer to a request, which comes in pieces of random length.
    async fn outcome(wire: &[u8], lot: &mut Rng) -> Result<(u16, Vec<u8>), String> {
        let (mut connection, mut worker) = pair(1 << 20);
        let feed = async {
            let mut rest = wire;
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(1 + lot.below(rest.len().min(40)));
                worker.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
                rest = later;
            }
            worker.shutdown().await.unwrap();
        };
        let ask = async {
            let parts = connection.send(post(b"{}")).await.map_err(|unanswered| unanswered.error)?;
            Ok((parts.status.as_u16(), body(&mut connection).await?))
        };
        let (answer, ()) = tokio::join!(ask, feed);
        answer.map_err(|error: ResponseError| error.to_string())
    }

    #[tokio::test]
    async fn mutated_answers_come_to_the_same_however_they_arrive() {
        const ANSWERS: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\n{\"text\":\"\"}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\ndata: \r\n10;x\r\n{\"text\":\"hello\"}\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 Busy\r\nRetry-After: 1\r\n\r\nno room",
            b"HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\nContent-Length: 3\n\n1\r\na\r\n0\r\nA: b\r\n\r\n",
        ];
        let mut lot = Rng::seeded(1);
        for case in 0..4_000 {
            let mut wire = ANSWERS[lot.below(4)].to_vec();
            for _ in 0..lot.below(4) {
                let at = lot.below(wire.len());
                let end = at + lot.below(wire.len() - at + 1).min(9);
                match lot.below(4) {
                    0 => wire[at] = lot.below(256) as u8,
                    1 => wire.insert(at, b"\r\n,:;0f \t"[lot.below(9)]),
                    2 => drop(wire.drain(at..end.max(at + 1).min(wire.len() - 1).max(at))),
                    _ => wire.extend_from_within(at..end),
                }
            }
            let (one, other) = (outcome(&wire, &mut lot).await, outcome(&wire, &mut lot).await);
            assert_eq!(one, other, "case {case}: {:?}", String::from_utf8_lossy(&wire));
        }
    }
}
