//! The connections to a worker's gRPC service.

use crate::connect::Connector;
use crate::connect_error::ConnectError;
use crate::connection_pool::UpstreamError;
use crate::http1::ResponseError;
use crate::target::WorkerTarget;
use http::HeaderMap;
use http::response::Parts;
use http::uri::Scheme;
use router_grpc::{EngineStates, GrpcChannel, GrpcError, GrpcResponse, PreparedCall, TransportError};
use std::io;
use std::sync::Arc;

/// How calls get to one worker.
#[derive(Debug)]
pub struct GrpcTransport {
    address: Connector,
    channel: GrpcChannel<ConnectError>,
}

impl GrpcTransport {
    pub(crate) fn new(target: &WorkerTarget, address: Connector) -> Self {
        let scheme = if target.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
        let channel = GrpcChannel::new(scheme, target.authority().clone());
        Self { address, channel }
    }

    /// Sends a call and waits for the head of the response.
    pub(crate) async fn send(&self, call: &PreparedCall) -> Result<(Parts, GrpcResponse), UpstreamError> {
        self.channel.send(call, || self.address.dial()).await.map_err(|error| self.error(error))
    }

    /// Asks for the states of the server.
    pub(crate) async fn watch(&self, headers: &HeaderMap) -> Result<EngineStates, UpstreamError> {
        self.channel.watch(headers, || self.address.dial()).await.map_err(|error| self.error(error))
    }

    /// Closes connections that are not needed any more.
    pub(crate) fn evict_idle(&self) {
        self.channel.evict_idle();
    }

    fn error(&self, error: GrpcError<ConnectError>) -> UpstreamError {
        match error {
            GrpcError::Connect(source) => UpstreamError::Connect { host: self.address.to_string(), source },
            GrpcError::Transport(error) => UpstreamError::Response(error.into()),
            GrpcError::Stale(error) => UpstreamError::Stale(error.into()),
        }
    }
}

impl From<TransportError> for ResponseError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Closed => Self::Closed,
            TransportError::Broken(error) => Self::Broken(error),
            TransportError::Invalid(problem) => Self::NotGrpc(problem),
            TransportError::Refused(_) | TransportError::Status { .. } => {
                Self::Broken(io::Error::other(error.to_string()))
            }
        }
    }
}

/// A worker's gRPC service that may appear and change while the worker runs.
pub(crate) type SharedTransport = arc_swap::ArcSwapOption<GrpcTransport>;

/// The transport to the service at `target`.
pub(crate) fn shared(target: &WorkerTarget, address: Connector) -> Arc<GrpcTransport> {
    Arc::new(GrpcTransport::new(target, address))
}
