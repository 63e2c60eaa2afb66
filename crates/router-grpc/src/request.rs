//! An HTTP request that goes to a worker as calls of the service.

use crate::call::{Call, Refusal, call_headers};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// An HTTP request for a gRPC worker.
#[derive(Clone, Debug)]
pub struct GrpcRequest {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
    is_repeat_forbidden: bool,
}

/// A request as the calls that are sent.
#[derive(Clone, Debug)]
pub struct PreparedCall {
    pub(crate) call: Call,
    pub(crate) metadata: HeaderMap,
    /// It has an id that the worker may have seen once it was sent.
    pub(crate) is_repeat_forbidden: bool,
}

impl GrpcRequest {
    /// A request without headers.
    pub fn new(method: &Method, path: &PathAndQuery, body: Bytes) -> Self {
        Self {
            method: method.clone(),
            path: path.clone(),
            headers: HeaderMap::new(),
            body,
            is_repeat_forbidden: false,
        }
    }

    /// Sets a header. [`forward`](Self::forward) skips headers of this name.
    pub fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        self.headers.insert(name, value.clone());
    }

    /// Adds the headers of a client, but those that are set already.
    pub fn forward(&mut self, headers: &HeaderMap) {
        let ours = self.headers.clone();
        for (name, value) in headers.iter().filter(|(name, _)| !ours.contains_key(*name)) {
            self.headers.append(name, value.clone());
        }
    }

    /// The worker must not get the request a second time when the first time may have reached it: it has an id of its own.
    pub const fn forbid_repeat(&mut self) {
        self.is_repeat_forbidden = true;
    }

    /// The method.
    pub const fn method(&self) -> &Method {
        &self.method
    }

    /// The path and the query.
    pub const fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// The headers.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The calls for it.
    ///
    /// # Errors
    /// When the service has none, or the body is not what the path takes.
    pub fn prepare(&self) -> Result<PreparedCall, Refusal> {
        let call = Call::of(&self.method, self.path.path(), &self.headers, &self.body)?;
        let is_repeat_forbidden = self.is_repeat_forbidden;
        Ok(PreparedCall { call, metadata: call_headers(&self.headers), is_repeat_forbidden })
    }
}
