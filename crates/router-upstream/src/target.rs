//! Where requests to one worker go.

use crate::http1::RequestEncoder;
use bytes::Bytes;
use http::Method;
use http::uri::{Authority, PathAndQuery, Scheme};
use router_config::WorkerUrl;

/// Where requests to one worker go.
#[derive(Clone, Debug)]
pub struct Target {
    authority: Authority,
    base: String,
    secure: bool,
}

impl Target {
    /// What a client needs to connect to the worker at `url` and to address it.
    ///
    /// # Errors
    /// Never for a URL that was parsed; the type says so because `http` parses again.
    pub fn new(url: &WorkerUrl) -> Result<Self, http::uri::InvalidUri> {
        let parts = url.uri()?.into_parts();
        let base = parts.path_and_query.as_ref().map_or("", |p| p.path()).trim_end_matches('/').to_owned();
        let secure = parts.scheme == Some(Scheme::HTTPS);
        Ok(Self { authority: parts.authority.unwrap_or(Authority::from_static("localhost")), base, secure })
    }

    /// The host and port.
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The port to dial.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// Whether the worker speaks TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The beginning of a request to this worker.
    pub(crate) fn request(&self, method: &Method, path: &PathAndQuery, body: Bytes) -> RequestEncoder {
        RequestEncoder::new((method, &self.base), path, body)
    }
}
