//! The answers to calls as one HTTP response.

use crate::call::{Answer, Refusal, error_body};
use crate::messages::OpenAiStreamChunk;
use crate::reply::{EventWriter, decode, openai_status, whole};
use crate::status::http_status;
use crate::transport::{Messages, TransportError};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tonic::Status;

/// The streams of the calls of one request.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    streams: SmallVec<[Messages; 1]>,
    /// How many have ended.
    ended: usize,
    has_ended: SmallVec<[bool; 4]>,
}

impl Receiver {
    pub(crate) fn push(&mut self, messages: Messages) {
        self.streams.push(messages);
        self.has_ended.push(false);
    }

    /// The next message of any of the streams, and which one it is; `None` when all have ended well.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(usize, Bytes), Status>>> {
        for index in 0..self.streams.len() {
            if self.has_ended[index] {
                continue;
            }
            let polled = match &mut self.streams[index] {
                Messages::Streamed(stream) => stream.poll_next(cx),
                Messages::Ended(status) => match status.take() {
                    Some(status) if status.code() != tonic::Code::Ok => Poll::Ready(Some(Err(status))),
                    _ => Poll::Ready(None),
                },
            };
            match polled {
                Poll::Pending => {}
                Poll::Ready(Some(Ok(message))) => return Poll::Ready(Some(Ok((index, message)))),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => {
                    self.has_ended[index] = true;
                    self.ended += 1;
                }
            }
        }
        if self.ended == self.streams.len() { Poll::Ready(None) } else { Poll::Pending }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Bytes), Status>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// All messages of each stream.
    async fn collect(mut self, first: Option<(usize, Bytes)>) -> Result<Vec<Vec<Bytes>>, Status> {
        let mut messages = vec![Vec::new(); self.streams.len()];
        if let Some((index, message)) = first {
            messages[index].push(message);
        }
        while let Some(next) = self.next().await {
            let (index, message) = next?;
            messages[index].push(message);
        }
        Ok(messages)
    }
}

/// The body of a response of a gRPC worker. Dropping it ends the calls.
#[derive(Debug)]
pub struct GrpcResponse(Body);

#[derive(Debug)]
enum Body {
    /// All of it is here.
    Whole(Bytes),
    /// Events, as they come.
    Events(Box<Events>),
    /// Its end was passed on.
    Over,
}

#[derive(Debug)]
struct Events {
    receiver: Receiver,
    writer: EventWriter,
    /// The events of the first message, until they are taken.
    first: Option<Bytes>,
}

impl GrpcResponse {
    /// Waits for the first message, or for all where the answer is not streamed.
    ///
    /// # Errors
    /// When the connection broke, or the messages are not what the call answers.
    pub(crate) async fn receive(
        mut receiver: Receiver,
        answer: &Answer,
    ) -> Result<(Parts, Self), TransportError> {
        let first = match receiver.next().await {
            Some(Ok(first)) => first,
            Some(Err(status)) => return failed(&status),
            None => return Err(TransportError::Invalid("the call ended without an answer")),
        };
        if let Some(mut writer) = EventWriter::of(answer, &first.1)? {
            let first = writer.write(first.0, &first.1)?;
            let events = Events { receiver, writer, first: Some(first) };
            return Ok((event_stream(), Self(Body::Events(Box::new(events)))));
        }
        let messages = match receiver.collect(Some(first)).await {
            Ok(messages) => messages,
            Err(status) => return failed(&status),
        };
        if *answer == Answer::OpenAiChunks {
            let [first, ..] = &messages[..] else { return Err(TransportError::Closed) };
            let chunk: OpenAiStreamChunk = decode(first.first().map_or(&[][..], |bytes| &bytes[..]))?;
            return Ok(Self::whole(openai_status(chunk.status_code), "application/json", chunk.json_chunk));
        }
        let (status, kind, body) = whole(answer, &messages)?;
        Ok(Self::whole(status, kind, body))
    }

    /// The response to a request that cannot be a call.
    pub fn refused(refusal: &Refusal) -> (Parts, Self) {
        Self::whole(refusal.status(), "application/json", refusal.body())
    }

    fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> (Parts, Self) {
        let mut parts = Response::new(()).into_parts().0;
        parts.status = status;
        if !body.is_empty() {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        (parts, Self(if body.is_empty() { Body::Over } else { Body::Whole(body) }))
    }

    /// Polls the next frame of the body; `None` at its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let data = match &mut self.0 {
            Body::Events(events) => ready!(events.poll_data(cx)),
            Body::Whole(body) => {
                let body = std::mem::take(body);
                self.0 = Body::Over;
                return Poll::Ready(Some(Ok(Frame::data(body))));
            }
            Body::Over => None,
        };
        if data.is_none() {
            self.0 = Body::Over;
        }
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    /// Whether its end was passed on.
    pub const fn is_over(&self) -> bool {
        matches!(self.0, Body::Over)
    }

    /// How many bytes of the body are left.
    pub fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Body::Whole(body) => SizeHint::with_exact(body.len() as u64),
            Body::Events(_) => SizeHint::default(),
            Body::Over => SizeHint::with_exact(0),
        }
    }
}

impl Events {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        Poll::Ready(match ready!(self.receiver.poll_next(cx)) {
            Some(Ok((index, message))) => Some(self.writer.write(index, &message)),
            Some(Err(status)) => Some(Err(TransportError::of_end(&status))),
            None => self.writer.end().transpose(),
        })
    }
}

/// The response for a call that ended with an error before its first message.
fn failed(status: &Status) -> Result<(Parts, GrpcResponse), TransportError> {
    if let Some(error) = TransportError::of_connection(status) {
        return Err(error);
    }
    let code = http_status(status);
    let message = match status.code() {
        tonic::Code::Unimplemented => format!(
            "the worker does not have this call of {}: it is older than the call, or serves another protocol ({})",
            crate::SERVICE,
            status.message()
        ),
        _ => status.message().to_owned(),
    };
    Ok(GrpcResponse::whole(code, "application/json", error_body(code, &message)))
}

fn event_stream() -> Parts {
    const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");
    let mut parts = Response::new(()).into_parts().0;
    parts.headers.insert(header::CONTENT_TYPE, EVENTS);
    parts
}
