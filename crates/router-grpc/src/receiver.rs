//! The messages of all calls of one request.

use crate::error::CallError;
use crate::framing::MessageReader;
use crate::http2::CallBody;
use bytes::Bytes;
use smallvec::SmallVec;
use std::future::poll_fn;
use std::task::{Context, Poll};
use tonic::{Code, Status};

/// What comes on one stream.
#[derive(Debug)]
pub(crate) enum Messages {
    /// Messages, then a status.
    Streamed(MessageReader<CallBody>),
    /// A status without a message before it; taken once.
    Ended(Option<Status>),
}

/// The streams of the calls of one request.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    streams: SmallVec<[Messages; 1]>,
    has_ended: SmallVec<[bool; 4]>,
}

impl Receiver {
    pub(crate) fn push(&mut self, messages: Messages) {
        self.streams.push(messages);
        self.has_ended.push(false);
    }

    /// The next message of any of the streams, and which one it is; `None` when all have ended well.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, Bytes), CallError>>> {
        let mut is_pending = false;
        for (index, (stream, has_ended)) in self.streams.iter_mut().zip(&mut self.has_ended).enumerate() {
            if *has_ended {
                continue;
            }
            let polled = match stream {
                Messages::Streamed(stream) => stream.poll_next(cx),
                Messages::Ended(status) => match status.take() {
                    Some(status) if status.code() != Code::Ok => Poll::Ready(Some(Err(status.into()))),
                    _ => Poll::Ready(None),
                },
            };
            match polled {
                Poll::Pending => is_pending = true,
                Poll::Ready(Some(next)) => return Poll::Ready(Some(next.map(|message| (index, message)))),
                Poll::Ready(None) => *has_ended = true,
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(None) }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Bytes), CallError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// All messages of each stream, of which the first has come already.
    pub(crate) async fn collect(mut self, index: usize, first: Bytes) -> Result<Vec<Vec<Bytes>>, CallError> {
        let mut messages = vec![Vec::new(); self.streams.len()];
        messages[index].push(first);
        while let Some(next) = self.next().await {
            let (index, message) = next?;
            messages[index].push(message);
        }
        Ok(messages)
    }
}
