//! HTTP/1.1 as it is spoken with workers.
//!
//! One connection carries one request at a time, and whoever waits for its answer drives it. The head goes out as it is
//! composed and the answer's body comes in as slices of what was read, so a request needs neither a task nor a queue of
//! its own. What a general client adds to that costs more than the rest of a small request's way; see DESIGN.md.

mod connection;
mod framing;
mod head;
mod hop_by_hop;
mod outgoing;

pub(crate) use connection::Connection;
pub(crate) use outgoing::{Outgoing, RequestHead};

/// Why a worker's answer did not come, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The worker closed the connection.
    #[error("the connection was closed before the answer was complete")]
    Closed,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] std::io::Error),
    /// What came is not HTTP/1.1.
    #[error("not HTTP/1.1: {0}")]
    Garbage(&'static str),
}
