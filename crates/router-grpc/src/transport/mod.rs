//! Calls over HTTP/2.

mod channel;
mod connection;
mod error;
mod h2_body;
mod watch;

pub use channel::GrpcChannel;
pub(crate) use channel::Messages;
pub use error::{GrpcError, TransportError};
pub(crate) use h2_body::CallBody;
pub use watch::{EngineStates, WatchError};
