//! How requests get to one worker: by HTTP/1.1, or as calls of its gRPC service.

use crate::connect::ConnectConfig;
use crate::connection_pool::{ConnectionPool, UpstreamError};
use crate::recheck::Recheck;
use crate::target::WorkerTarget;
use crate::tls::TlsError;
use crate::worker_connection::WorkerConnection;
use crate::worker_request::{RequestBuilder, WorkerRequest};
use bytes::Bytes;
use http::Method;
use http::response::Parts;
use http::uri::PathAndQuery;
use std::sync::Arc;

#[cfg(feature = "grpc")]
use crate::{
    grpc::{self, GrpcTransport, SharedTransport},
    invalid_worker::InvalidWorker,
    target::WorkerProtocol,
    worker_request::GrpcBuilder,
};
#[cfg(feature = "grpc")]
use router_grpc::{GrpcRequest, GrpcResponse, InferenceSupport};

/// The connections to one worker.
#[derive(Debug)]
pub struct WorkerTransport {
    http1: ConnectionPool,
    /// Its gRPC service: the worker itself where its URL says so, else one beside its HTTP server, once that is known.
    #[cfg(feature = "grpc")]
    grpc: SharedTransport,
    #[cfg(feature = "grpc")]
    connect: ConnectConfig,
}

impl WorkerTransport {
    /// The transport to `target`, without a connection.
    ///
    /// # Errors
    /// When TLS is not possible.
    pub(crate) fn new(
        target: &WorkerTarget,
        connect: ConnectConfig,
        recheck: Arc<Recheck>,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            http1: ConnectionPool::new(connect.to(target)?, recheck),
            #[cfg(feature = "grpc")]
            grpc: match target.protocol() {
                WorkerProtocol::Http1 => SharedTransport::empty(),
                WorkerProtocol::Grpc => SharedTransport::new(Some(grpc::shared(target, connect.to(target)?))),
            },
            #[cfg(feature = "grpc")]
            connect,
        })
    }

    /// The gRPC service that is the worker itself, where its URL says so.
    #[cfg(feature = "grpc")]
    pub(crate) fn own_grpc(&self, target: &WorkerTarget) -> Option<Arc<GrpcTransport>> {
        if target.protocol() == WorkerProtocol::Grpc { self.grpc.load_full() } else { None }
    }

    /// The server has a gRPC service at this port of its host, or none: requests for the model go there from now on.
    ///
    /// # Errors
    /// When no such address is valid, or TLS is not possible.
    #[cfg(feature = "grpc")]
    pub(crate) fn set_grpc_port(
        &self,
        target: &WorkerTarget,
        port: Option<u16>,
    ) -> Result<(), InvalidWorker> {
        let service = match port {
            None => None,
            Some(port) => {
                let target = target.beside(WorkerProtocol::Grpc, port)?;
                Some(grpc::shared(&target, self.connect.to(&target)?))
            }
        };
        self.grpc.store(service);
        Ok(())
    }

    /// Whether requests for the model go to a gRPC service.
    #[cfg(feature = "grpc")]
    pub(crate) fn has_grpc(&self) -> bool {
        self.grpc.load().is_some()
    }

    /// A request to the worker, without headers.
    pub(crate) fn request(
        &self,
        target: &WorkerTarget,
        method: &Method,
        path: &PathAndQuery,
        body: Bytes,
    ) -> RequestBuilder {
        #[cfg(feature = "grpc")]
        if let Some(transport) = self.grpc.load_full() {
            let has_http1 = target.protocol() == WorkerProtocol::Http1;
            let support = InferenceSupport::of_path(path.path());
            if !has_http1 || support != InferenceSupport::Never {
                let may_need_http1 = has_http1 && support == InferenceSupport::ByBody;
                let http1 = may_need_http1.then(|| target.request(method, path, body.clone()));
                let request = GrpcRequest::new(method, path, body);
                return RequestBuilder::Grpc(Box::new(GrpcBuilder { request, transport, http1 }));
            }
        }
        RequestBuilder::Http1(target.request(method, path, body))
    }

    /// Sends a request and waits for the response head. The caller reads the body from the returned connection, and passes
    /// it to [`release`](Self::release) after the last byte.
    ///
    /// # Errors
    /// When the worker cannot be reached or does not respond.
    pub async fn send(&self, request: WorkerRequest) -> Result<(Parts, WorkerConnection), UpstreamError> {
        match request {
            WorkerRequest::Http1(request) => {
                let (parts, connection) = self.http1.send(request).await?;
                Ok((parts, WorkerConnection::Http1(connection)))
            }
            #[cfg(feature = "grpc")]
            WorkerRequest::Grpc(call, transport) => {
                let (parts, response) = Box::pin(transport.send(&call)).await?;
                Ok((parts, WorkerConnection::Grpc(Box::new(response))))
            }
            #[cfg(feature = "grpc")]
            WorkerRequest::Refused(refusal) => {
                let (parts, response) = GrpcResponse::refused(&refusal);
                Ok((parts, WorkerConnection::Grpc(Box::new(response))))
            }
        }
    }

    /// Takes back a connection whose response was read to the end.
    pub fn release(&self, connection: WorkerConnection) {
        match connection {
            WorkerConnection::Http1(connection) => self.http1.release(connection),
            #[cfg(feature = "grpc")]
            WorkerConnection::Grpc(_) => {}
        }
    }

    /// Closes connections that are not needed any more.
    pub(crate) fn evict_idle(&self) {
        self.http1.evict_idle();
        #[cfg(feature = "grpc")]
        if let Some(grpc) = self.grpc.load_full() {
            grpc.evict_idle();
        }
    }
}
