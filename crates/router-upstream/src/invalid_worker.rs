//! Why a worker cannot join.

use crate::tls::TlsError;

/// Why no request can be sent to a worker.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorker {
    /// Its URL is no URI.
    #[error(transparent)]
    Uri(#[from] http::uri::InvalidUri),
    /// Its URL does not fit into a header.
    #[error(transparent)]
    Header(#[from] http::header::InvalidHeaderValue),
    /// TLS is not possible with its host or the configured certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It is to be reached by gRPC.
    #[cfg(not(feature = "grpc"))]
    #[error("this build has no gRPC; build it with the feature `grpc`, or use the worker's HTTP port")]
    WithoutGrpc,
    /// vLLM is to be reached by gRPC.
    #[error(
        "vLLM has no gRPC service that takes the bodies of OpenAI's API; use its HTTP port, as in http://HOST:PORT"
    )]
    GrpcOfVllm,
}
