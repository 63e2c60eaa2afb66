//! An HTTP request that goes to a worker as calls of the service.

use crate::call::{Call, CallCheck, Refusal, metadata};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use smallvec::SmallVec;
use tokio::time::Instant;

/// An HTTP request for a gRPC worker.
#[derive(Clone, Debug)]
pub struct GrpcRequest {
    method: Method,
    path: PathAndQuery,
    metadata: HeaderMap,
    body: Bytes,
    /// The names of the headers that were set.
    set: SmallVec<[HeaderName; 6]>,
    is_repeat_forbidden: bool,
    deadline: Option<Instant>,
    check: Option<CallCheck>,
}

/// A request as the calls that are sent.
#[derive(Clone, Debug)]
pub struct PreparedCall {
    pub(crate) call: Call,
    pub(crate) metadata: HeaderMap,
    /// It has an id that the worker may have seen once it was sent.
    pub(crate) is_repeat_forbidden: bool,
    /// When the answer is not waited for any more. The worker is told how long that is when a call is sent.
    pub(crate) deadline: Option<Instant>,
}

impl GrpcRequest {
    /// A request without headers.
    pub fn new(method: &Method, path: &PathAndQuery, body: Bytes) -> Self {
        Self {
            method: method.clone(),
            path: path.clone(),
            metadata: metadata::begin(),
            body,
            set: SmallVec::new(),
            is_repeat_forbidden: false,
            deadline: None,
            check: None,
        }
    }

    /// Sets a header, where it may be the metadata of a call. [`forward`](Self::forward) skips headers of this name.
    pub fn set(&mut self, name: HeaderName, value: &HeaderValue) {
        if metadata::is_metadata(&name) {
            self.metadata.append(name.clone(), metadata::value(&name, value));
        }
        self.set.push(name);
    }

    /// Adds the headers of a client that may be the metadata of a call, but those that are set already.
    pub fn forward(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            if metadata::is_metadata(name) && !self.set.contains(name) {
                self.metadata.append(name, metadata::value(name, value));
            }
        }
    }

    /// The worker must not get the request a second time when the first time may have reached it: it has an id of its own.
    pub const fn forbid_repeat(&mut self) {
        self.is_repeat_forbidden = true;
    }

    /// The answer is waited for until then; the worker is told in `grpc-timeout`. Who sends the call ends it then, whatever the worker does.
    pub const fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// What was read of the body before is not read again.
    pub fn reuse(&mut self, check: &CallCheck) {
        self.check = Some(check.clone());
    }

    /// The calls for it.
    ///
    /// # Errors
    /// When the service has none, or the body is not what the path takes.
    pub fn prepare(self) -> Result<PreparedCall, Refusal> {
        let Self { method, path, metadata, body, is_repeat_forbidden, deadline, check, .. } = self;
        let call = Call::of(&method, path.path(), &metadata, &body, check.as_ref())?;
        Ok(PreparedCall { call, metadata, is_repeat_forbidden, deadline })
    }
}
