//! A request to a worker, in the form that its protocol needs.

use crate::http1::{EncodedRequest, RequestEncoder};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

#[cfg(feature = "grpc")]
use crate::grpc::GrpcTransport;
#[cfg(feature = "grpc")]
pub use router_grpc::CallCheck;
#[cfg(feature = "grpc")]
use router_grpc::{GrpcRequest, PreparedCall, Refusal};
#[cfg(feature = "grpc")]
use std::sync::Arc;

/// Whether SGLang's gRPC service has a call for a request. Without the feature no worker is reached by it.
#[cfg(not(feature = "grpc"))]
#[derive(Clone, Debug)]
pub struct CallCheck;

#[cfg(not(feature = "grpc"))]
impl CallCheck {
    /// Nothing is looked at.
    pub const fn new(_: &http::Method, _: &str, _: &bytes::Bytes) -> Self {
        Self
    }

    /// No worker lacks one.
    pub const fn has_call(&self) -> bool {
        true
    }
}

/// The head of a request while it is written.
#[derive(Debug)]
#[cfg_attr(
    feature = "grpc",
    expect(
        clippy::large_enum_variant,
        reason = "the large one is on the way of every HTTP request, and costs no allocation"
    )
)]
pub enum RequestBuilder {
    /// HTTP/1.1, as bytes.
    Http1(RequestEncoder),
    /// A call of SGLang's gRPC service.
    #[cfg(feature = "grpc")]
    Grpc(Box<GrpcBuilder>),
}

/// A request that becomes a call.
#[cfg(feature = "grpc")]
#[derive(Debug)]
pub struct GrpcBuilder {
    pub(crate) request: GrpcRequest,
    pub(crate) transport: Arc<GrpcTransport>,
    /// The same request for the worker's HTTP server, where it has one and the body decides whether the service has a call.
    pub(crate) http1: Option<RequestEncoder>,
}

/// A request to a worker, complete.
#[derive(Debug)]
pub enum WorkerRequest {
    /// HTTP/1.1.
    Http1(EncodedRequest),
    /// A call of SGLang's gRPC service.
    #[cfg(feature = "grpc")]
    Grpc(Box<PreparedCall>, Arc<GrpcTransport>),
    /// The service has no call for it.
    #[cfg(feature = "grpc")]
    Refused(Refusal),
}

impl RequestBuilder {
    /// Sets a header. [`forward`](Self::forward) skips headers of this name.
    pub fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        match self {
            Self::Http1(head) => head.set(name, value),
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => {
                if let Some(head) = &mut builder.http1 {
                    head.set(name.clone(), value);
                }
                builder.request.set(name, value);
            }
        }
    }

    /// Adds the headers of a client, without those that belong to its connection, and those that are set already.
    pub fn forward(&mut self, headers: &HeaderMap) {
        match self {
            Self::Http1(head) => head.forward(headers),
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => {
                if let Some(head) = &mut builder.http1 {
                    head.forward(headers);
                }
                builder.request.forward(headers);
            }
        }
    }

    /// Asks for another protocol on the same connection, such as `websocket`. gRPC has no such thing: its response is 501.
    pub fn ask_for_upgrade(&mut self, protocol: &HeaderValue) {
        match self {
            Self::Http1(head) => head.ask_for_upgrade(protocol),
            #[cfg(feature = "grpc")]
            Self::Grpc(_) => {}
        }
    }

    /// The worker must not get the request a second time when the first time may have reached it.
    pub const fn forbid_repeat(&mut self) {
        match self {
            Self::Http1(head) => head.forbid_repeat(),
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => {
                if let Some(head) = &mut builder.http1 {
                    head.forbid_repeat();
                }
                builder.request.forbid_repeat();
            }
        }
    }

    /// The response is waited for until then. A gRPC worker is told how long that is; HTTP/1.1 has no header for it.
    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "HTTP/1.1 has no use for it"))]
    pub const fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Http1(_) => {}
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => builder.request.set_deadline(deadline),
        }
    }

    /// What `check` read of the body is not read again.
    #[cfg_attr(not(feature = "grpc"), expect(unused_variables, reason = "HTTP/1.1 has no use for it"))]
    pub fn reuse(&mut self, check: &CallCheck) {
        match self {
            Self::Http1(_) => {}
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => builder.request.reuse(check),
        }
    }

    /// Ends the head and returns the request.
    pub fn finish(self) -> WorkerRequest {
        match self {
            Self::Http1(head) => WorkerRequest::Http1(head.finish()),
            #[cfg(feature = "grpc")]
            Self::Grpc(builder) => builder.finish(),
        }
    }
}

#[cfg(feature = "grpc")]
impl GrpcBuilder {
    fn finish(self) -> WorkerRequest {
        let Self { request, transport, http1 } = self;
        match (request.prepare(), http1) {
            (Ok(call), _) => WorkerRequest::Grpc(Box::new(call), transport),
            (Err(_), Some(head)) => WorkerRequest::Http1(head.finish()),
            (Err(refusal), None) => WorkerRequest::Refused(refusal),
        }
    }
}
