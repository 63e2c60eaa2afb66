//! The address of one worker.

use crate::http1::RequestEncoder;
use bytes::Bytes;
use http::Method;
use http::uri::{Authority, PathAndQuery, Scheme};
use router_config::WorkerUrl;

/// The protocol that a worker's URL names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerProtocol {
    /// HTTP/1.1.
    Http1,
    /// SGLang's gRPC service.
    Grpc,
}

/// Authority, base path and scheme of one worker.
#[derive(Clone, Debug)]
pub struct WorkerTarget {
    authority: Authority,
    base: String,
    secure: bool,
    protocol: WorkerProtocol,
}

impl WorkerTarget {
    /// The target of the worker at `url`.
    ///
    /// # Errors
    /// Never for a URL that was parsed; the type says so because `http` parses again.
    pub fn new(url: &WorkerUrl) -> Result<Self, http::uri::InvalidUri> {
        let parts = url.uri()?.into_parts();
        let base = parts.path_and_query.as_ref().map_or("", |p| p.path()).trim_end_matches('/').to_owned();
        let scheme = parts.scheme.as_ref().map_or("http", Scheme::as_str);
        Ok(Self {
            secure: matches!(scheme, "https" | "grpcs"),
            protocol: if url.is_grpc() { WorkerProtocol::Grpc } else { WorkerProtocol::Http1 },
            authority: parts.authority.unwrap_or(Authority::from_static("localhost")),
            base,
        })
    }

    /// The same host at another port, by another protocol.
    #[cfg(feature = "grpc")]
    pub(crate) fn beside(&self, protocol: WorkerProtocol, port: u16) -> Result<Self, http::uri::InvalidUri> {
        let authority = format!("{}:{port}", self.authority.host()).parse()?;
        Ok(Self { authority, base: String::new(), secure: self.secure, protocol })
    }

    /// The protocol that the URL names.
    pub const fn protocol(&self) -> WorkerProtocol {
        self.protocol
    }

    /// The host and port.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The path that is put before the path of every request; empty where the URL has none.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Whether the URL is https or grpcs.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// An encoder for a request to this worker.
    pub(crate) fn request(&self, method: &Method, path: &PathAndQuery, body: Bytes) -> RequestEncoder {
        RequestEncoder::new(method, &self.base, path, body)
    }
}
