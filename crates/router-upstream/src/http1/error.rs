//! Why a response did not arrive.

/// Why a response did not arrive completely.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The worker closed the connection.
    #[error("the connection was closed before the response was complete")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] std::io::Error),
    /// The bytes are not valid HTTP/1.1.
    #[error("not HTTP/1.1: {0}")]
    Invalid(&'static str),
    /// What came is not gRPC.
    #[error("not gRPC: {0}")]
    NotGrpc(&'static str),
}

/// Why a whole response could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// It did not arrive.
    #[error(transparent)]
    Response(#[from] ResponseError),
    /// It is larger than the limit, in bytes.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
}
