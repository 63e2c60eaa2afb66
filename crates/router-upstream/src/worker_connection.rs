//! Where the body of a worker's response comes from.

use crate::connect::WorkerStream;
use crate::http1::{CollectError, Connection, ResponseError};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Where the body of a worker's response comes from. Dropping it makes the worker stop.
#[derive(Debug)]
pub enum WorkerConnection {
    /// A connection of HTTP/1.1, which carries this response alone.
    Http1(Connection<WorkerStream>),
    /// Calls on a connection that others share.
    #[cfg(feature = "grpc")]
    Grpc(Box<router_grpc::GrpcResponse>),
}

impl WorkerConnection {
    /// Polls the next frame of the response body; `None` at its end.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        match self {
            Self::Http1(connection) => connection.poll_frame(cx),
            #[cfg(feature = "grpc")]
            Self::Grpc(response) => response.poll_frame(cx).map_err(ResponseError::from),
        }
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
        match self {
            Self::Http1(connection) => connection.is_over(),
            #[cfg(feature = "grpc")]
            Self::Grpc(response) => response.is_over(),
        }
    }

    /// How many bytes of the response body are left.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(connection) => connection.size_hint(),
            #[cfg(feature = "grpc")]
            Self::Grpc(response) => response.size_hint(),
        }
    }

    /// The stream below, after a response that switched the protocol, and what was read of it behind the response; absent where the
    /// protocol cannot be switched.
    pub fn into_stream(self) -> Option<(WorkerStream, BytesMut)> {
        match self {
            Self::Http1(connection) => Some(connection.into_stream()),
            #[cfg(feature = "grpc")]
            Self::Grpc(_) => None,
        }
    }
}
