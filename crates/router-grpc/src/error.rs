//! Why a call got no answer.

use std::io;
use std::sync::Arc;
use tonic::Status;

/// Why a request to a worker got no response. `E` says why it cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError<E> {
    /// No connection: the worker has not seen the request.
    #[error("{0}")]
    Connect(Arc<E>),
    /// The connection broke.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A connection that was open before ended without a byte of a response, and this request must not be repeated.
    #[error("a kept connection ended: {0}")]
    Stale(#[source] TransportError),
}

/// Why a call got no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The connection or the call was closed before the answer was complete.
    #[error("the connection was closed before the response was complete")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The worker did not take the call; it can be sent again.
    #[error("the worker refused the call: {0}")]
    Refused(h2::Error),
    /// What came is not gRPC, or not what the call answers.
    #[error("not gRPC: {0}")]
    Invalid(&'static str),
    /// The call ended with an error after its first message.
    #[error("the call ended with {code:?}: {message}")]
    Status {
        /// Its code.
        code: tonic::Code,
        /// Its details.
        message: String,
    },
}

/// How a call ended that did not end well.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The server says so.
    Status(Box<Status>),
    /// The connection is the reason.
    Connection(TransportError),
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<CallError> for TransportError {
    /// What it means for an answer that is not complete.
    fn from(error: CallError) -> Self {
        match error {
            CallError::Connection(error) => error,
            CallError::Status(status) => {
                Self::Status { code: status.code(), message: status.message().to_owned() }
            }
        }
    }
}

impl TransportError {
    /// Whether the worker says that it has not looked at the call.
    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn of_h2(error: &h2::Error) -> Self {
        if let Some(io) = error.get_io() {
            return match io.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Closed,
                kind => Self::Broken(io::Error::new(kind, io.to_string())),
            };
        }
        let reason = error.reason();
        if reason == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR))
        {
            return Self::Refused(reason.unwrap_or(h2::Reason::NO_ERROR).into());
        }
        if error.is_library() {
            return Self::Invalid("the worker does not speak HTTP/2; is this the port of its HTTP server?");
        }
        Self::Broken(io::Error::other(error.to_string()))
    }
}

impl From<h2::Error> for TransportError {
    fn from(error: h2::Error) -> Self {
        Self::of_h2(&error)
    }
}
