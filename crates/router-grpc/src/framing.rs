//! Messages on the wire: each has its length before it.

use crate::error::{CallError, TransportError};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use prost::Message;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};

/// Bytes before each message: whether it is compressed, and its length.
const HEADER: usize = 5;

/// Largest message that is received, in bytes.
const MAX_MESSAGE: usize = 64 << 20;

/// A message with its length before it.
pub(crate) fn framed<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEADER + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // Writing to memory that grows cannot fail.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// Takes the messages out of a response body; what they mean depends on the call. A message that came in one piece is not copied.
///
/// It is our own because tonic's reader allocates 8 KiB for each call and copies every message, and a call here has a few hundred bytes.
#[derive(Debug)]
pub(crate) struct MessageReader<B> {
    body: B,
    /// What came last, as far as it was not taken.
    came: Bytes,
    /// The beginning of a message that came in several pieces.
    begun: BytesMut,
    has_ended: bool,
}

impl<B: Body<Data = Bytes, Error: Into<TransportError>> + Unpin> MessageReader<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, came: Bytes::new(), begun: BytesMut::new(), has_ended: false }
    }

    /// The next message; `None` where the call ended well. After an error nothing more comes.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let next = match ready!(self.poll_message(cx)) {
            Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        };
        self.has_ended = true;
        Poll::Ready(next)
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, CallError>> {
        loop {
            if let Some(message) = self.take().map_err(CallError::Connection)? {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.came = data,
                    Err(frame) => return Poll::Ready(self.end(frame)),
                },
                Some(Err(error)) => return Poll::Ready(Err(CallError::Connection(error.into()))),
                None => return Poll::Ready(Err(CallError::Connection(TransportError::Closed))),
            }
        }
    }

    /// The next message, if all of it is here.
    fn take(&mut self) -> Result<Option<Bytes>, TransportError> {
        if self.begun.is_empty() {
            let Some(length) = length(&self.came)? else {
                self.begun.extend_from_slice(&std::mem::take(&mut self.came));
                return Ok(None);
            };
            if self.came.len() >= HEADER + length {
                let mut message = self.came.split_to(HEADER + length);
                message.advance(HEADER);
                return Ok(Some(message));
            }
            self.begun.reserve(HEADER + length);
        }
        self.fill(HEADER);
        let Some(length) = length(&self.begun)? else { return Ok(None) };
        self.fill(HEADER + length);
        if self.begun.len() < HEADER + length {
            return Ok(None);
        }
        let mut message = std::mem::take(&mut self.begun).freeze();
        message.advance(HEADER);
        Ok(Some(message))
    }

    /// Moves what came to what has begun, until that has `wanted` bytes.
    fn fill(&mut self, wanted: usize) {
        let missing = wanted.saturating_sub(self.begun.len()).min(self.came.len());
        self.begun.extend_from_slice(&self.came.split_to(missing));
    }

    /// The trailers came.
    fn end(&self, frame: Frame<Bytes>) -> Result<Option<Bytes>, CallError> {
        match Status::from_header_map(&frame.into_trailers().unwrap_or_default()) {
            Some(status) if status.code() != Code::Ok => Err(status.into()),
            Some(_) if self.begun.is_empty() => Ok(None),
            Some(_) | None => Err(CallError::Connection(TransportError::Closed)),
        }
    }
}

/// The length of the message that begins here, if that much is here.
fn length(bytes: &[u8]) -> Result<Option<usize>, TransportError> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    if flag != 0 {
        return Err(TransportError::Invalid("a message is compressed, which was not asked for"));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > MAX_MESSAGE {
        return Err(TransportError::Invalid("a message is larger than 64 MiB"));
    }
    Ok(Some(length))
}
