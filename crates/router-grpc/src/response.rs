//! The answers to calls as one HTTP response.

use crate::call::{Answer, Refusal, error_body};
use crate::error::{CallError, TransportError};
use crate::receiver::Receiver;
use crate::reply::{EventWriter, whole};
use crate::status::http_status;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use std::task::{Context, Poll, ready};

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
            Some(Err(error)) => return failed(error),
            None => return Err(TransportError::Invalid("the call ended without an answer")),
        };
        if let Some(mut writer) = EventWriter::of(answer, &first.1)? {
            let first = writer.write(first.0, &first.1)?;
            let events = Events { receiver, writer, first: Some(first) };
            return Ok((event_stream(), Self(Body::Events(Box::new(events)))));
        }
        let messages = match receiver.collect(first.0, first.1).await {
            Ok(messages) => messages,
            Err(error) => return failed(error),
        };
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
            Some(Err(error)) => Some(Err(error.into())),
            None => self.writer.end().transpose(),
        })
    }
}

/// The response for a call that ended with an error before its first message.
fn failed(error: CallError) -> Result<(Parts, GrpcResponse), TransportError> {
    let status = match error {
        CallError::Connection(error) => return Err(error),
        CallError::Status(status) => status,
    };
    let code = http_status(&status);
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
