//! One connection to a worker.

use super::body_decoder::{BodyDecoder, DecodedPiece};
use super::error::ResponseError;
use super::request_encoder::{AskedFor, EncodedRequest};
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

/// Most interim responses (status 1xx) to one request. A server that says every 20 s that it still works says so 90
/// times in the half hour that a request may take by default.
const MAX_INTERIM: u32 = 100;

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
    /// The request, if a reused connection ended without a byte of a response. Servers close idle connections when they
    /// like, and this one may have been closed while the request was on its way (RFC 9112, section 9.3.1).
    pub unanswered: Option<EncodedRequest>,
}

/// How much of a response head has come.
#[derive(Debug, Default)]
struct HeadProgress {
    /// So many bytes of the read buffer hold no end of a head.
    searched: usize,
    /// Interim responses (status 1xx) that came before.
    interim: u32,
    /// A byte of the response has come.
    has_begun: bool,
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
    /// The request after that, until a byte of its response comes; kept on a reused connection only.
    kept: Option<EncodedRequest>,
    /// A request was answered on this connection before.
    is_reused: bool,
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
            kept: None,
            is_reused: false,
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
        let asked_for = request.asks_for();
        inner.request = Some(request);
        inner.want = MIN_READ;
        let mut progress = HeadProgress::default();
        poll_fn(|cx| inner.poll_head(cx, &mut progress, asked_for)).await.map_err(|error| {
            inner.keep_alive = false;
            let request = inner.kept.take().or(inner.request.take());
            SendError { error, unanswered: request.filter(|_| inner.is_reused && !progress.has_begun) }
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

    /// The stream below, after a response that switched the protocol, and what was read of it behind the response.
    pub fn into_stream(self) -> (S, BytesMut) {
        let ConnectionState { wire, read, .. } = *self.0;
        (wire, read)
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
        progress: &mut HeadProgress,
        asked_for: AskedFor,
    ) -> Poll<Result<Parts, ResponseError>> {
        self.poll_send(cx);
        if let Some(error) =
            self.write_error.take_if(|_| self.request.as_ref().is_some_and(EncodedRequest::is_untouched))
        {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if !response_head::is_plausible(&self.read) {
                return Poll::Ready(Err(ResponseError::Invalid(response_head::protocol(&self.read))));
            }
            if let Some(end) = response_head::end(&self.read, &mut progress.searched) {
                if end > MAX_HEAD {
                    return Poll::Ready(Err(HEAD_TOO_LONG));
                }
                progress.searched = 0;
                let bytes = self.read.split_to(end).freeze();
                let Some(head) = response_head::parse(&bytes, asked_for)? else {
                    progress.interim += 1;
                    if progress.interim > MAX_INTERIM {
                        return Poll::Ready(Err(ResponseError::Invalid("too many interim responses")));
                    }
                    continue;
                };
                self.is_reused = true;
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
            progress.has_begun = true;
            self.kept = None;
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        self.poll_send(cx);
        self.kept = None;
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
        if self.request.is_some() && self.write_error.is_none() {
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
            self.kept = self.request.take().filter(|_| self.is_reused);
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

    #[tokio::test]
    async fn switched_protocol_begins_behind_the_head() {
        let (mut connection, mut worker) = pair(1 << 20);
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly";
        worker.write_all(head).await.unwrap();
        let path = PathAndQuery::from_static("/v1/realtime");
        let mut request = RequestEncoder::new(&Method::GET, "", &path, Bytes::new());
        request.ask_for_upgrade(&http::HeaderValue::from_static("websocket"));
        assert_eq!(connection.send(request.finish()).await.unwrap().status, 101);
        assert!(connection.is_over() && !connection.is_reusable());
        let mut asked = [0; 256];
        let read = worker.read(&mut asked).await.unwrap();
        assert_eq!(
            std::str::from_utf8(&asked[..read]).unwrap(),
            "GET /v1/realtime HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        );
        let (mut stream, early) = connection.into_stream();
        assert_eq!(early, "early");
        worker.write_all(b"late").await.unwrap();
        let mut late = [0; 4];
        stream.read_exact(&mut late).await.unwrap();
        assert_eq!(&late, b"late");
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

    /// A connection that carried a request before, and the bytes that a request takes on it.
    async fn kept(room: usize) -> (Connection<DuplexStream>, DuplexStream, usize) {
        let (mut connection, mut worker) = pair(room);
        let length = post(b"{}").pieces().iter().map(|piece| piece.len()).sum();
        worker.write_all(OK).await.unwrap();
        connection.send(post(b"{}")).await.unwrap();
        body(&mut connection).await.unwrap();
        worker.read_exact(&mut vec![0; length]).await.unwrap();
        assert!(connection.is_open() && connection.is_reusable());
        (connection, worker, length)
    }

    #[tokio::test]
    async fn unanswered_request_is_returned_whole() {
        let large = vec![b'x'; 100_000];
        for (request, seen) in [(post(b"{}"), 0), (post(b"{}"), 1), (post(&large), 20_000)] {
            let (mut connection, mut worker, _) = kept(1000).await;
            let response = async move { worker.read_exact(&mut vec![0; seen]).await.map(drop) };
            let (failed, _) = tokio::join!(connection.send(request.clone()), response);
            let unanswered = failed.unwrap_err().unanswered.unwrap().repeated().unwrap();
            assert_eq!(format!("{unanswered:?}"), format!("{request:?}"), "after {seen} bytes");
            assert!(!connection.is_open() && !connection.is_reusable());
        }
    }

    #[tokio::test]
    async fn answered_or_first_request_is_not_returned() {
        let (mut connection, mut worker) = pair(100);
        let (failed, _) = tokio::join!(connection.send(post(b"{}")), async move { worker.read_u8().await });
        assert!(failed.unwrap_err().unanswered.is_none(), "the connection was new");
        for begun in ["H", "HTTP/1.1 100 Continue\r\n\r\n"] {
            let (mut connection, mut worker, _) = kept(100).await;
            let response = async move {
                worker.read_u8().await.unwrap();
                worker.write_all(begun.as_bytes()).await.unwrap();
            };
            let (failed, ()) = tokio::join!(connection.send(post(b"{}")), response);
            assert!(failed.unwrap_err().unanswered.is_none(), "it had begun to respond: {begun:?}");
        }
    }

    #[tokio::test]
    async fn repeat_is_forbidden_once_sent() {
        let path = PathAndQuery::from_static("/generate");
        let mut encoder = RequestEncoder::new(&Method::POST, "", &path, Bytes::from_static(b"{}"));
        encoder.forbid_repeat();
        let request = encoder.finish();
        assert!(request.clone().repeated().is_some(), "no byte of it was sent");
        let (mut connection, mut worker, length) = kept(1000).await;
        let response = async move { worker.read_exact(&mut vec![0; length]).await.map(drop) };
        let (failed, _) = tokio::join!(connection.send(request), response);
        assert!(failed.unwrap_err().unanswered.unwrap().repeated().is_none());
    }

    #[tokio::test]
    async fn interim_responses_are_bounded() {
        let interim = |count| [b"HTTP/1.1 102 Processing\r\n\r\n".repeat(count), OK.to_vec()].concat();
        assert_eq!(respond(&interim(100), Then::Nothing).await.unwrap().0, 200);
        let error = respond(&interim(101), Then::Nothing).await.unwrap_err();
        assert!(matches!(error, ResponseError::Invalid(_)), "{error:?}");
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
