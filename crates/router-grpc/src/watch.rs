//! The state of a server, as it tells it by itself.

use crate::error::{CallError, TransportError};
use crate::messages::EngineState;
use crate::receiver::Receiver;
use crate::reply::decode;
use tonic::Code;

/// The states of a server: one at once, then one after each change. It stays open as long as the server runs.
#[derive(Debug)]
pub struct EngineStates(pub(crate) Receiver);

/// Why no more states come.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The server has no such call: it is older.
    #[error("the server does not tell its state: {0}")]
    Unsupported(String),
    /// The call ended.
    #[error(transparent)]
    Ended(#[from] TransportError),
}

impl EngineStates {
    /// Waits for the next state.
    ///
    /// # Errors
    /// When the server has no such call, or the call ended.
    pub async fn next(&mut self) -> Result<EngineState, WatchError> {
        match self.0.next().await {
            Some(Ok((_, message))) => Ok(decode(message)?),
            Some(Err(CallError::Status(status))) if status.code() == Code::Unimplemented => {
                Err(WatchError::Unsupported(status.message().to_owned()))
            }
            Some(Err(error)) => Err(TransportError::from(error).into()),
            None => Err(TransportError::Closed.into()),
        }
    }
}
