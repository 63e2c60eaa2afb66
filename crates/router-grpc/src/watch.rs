//! The state of a server, as it tells it by itself.

use crate::call::{Answer, Call, metadata};
use crate::channel::GrpcChannel;
use crate::error::{CallError, GrpcError, TransportError};
use crate::messages::{Empty, EngineState};
use crate::receiver::Receiver;
use crate::reply::decode;
use crate::rpc::Rpc;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Code;

/// The states of a server: one at once, then one after each change. It stays open as long as the server runs.
#[derive(Debug)]
pub struct EngineStates(Receiver);

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

impl<E: Send + Sync> GrpcChannel<E> {
    /// Asks for the states of the server, with these headers.
    ///
    /// # Errors
    /// When the worker cannot be reached.
    pub async fn watch<S, F>(
        &self,
        headers: &HeaderMap,
        dial: impl Fn() -> F,
    ) -> Result<EngineStates, GrpcError<E>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<S, E>>,
    {
        let call = Call::watch(&Empty {});
        let mut metadata = metadata::begin();
        metadata.extend(headers.clone());
        Ok(EngineStates(self.open(&call, &metadata, dial).await?))
    }
}

impl Call {
    fn watch(message: &Empty) -> Self {
        Self::one(Rpc::WatchEngineState, message, Answer::Aborted)
    }
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
