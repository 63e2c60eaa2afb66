//! Whether a request has a call, found out before a worker is chosen for it.

use super::generate::Body;
use super::refusal::Refusal;
use super::rpc_of;
use crate::rpc::Rpc;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;

/// Whether the service has a call for a request. What was read of the body for it is kept, so that the attempts do not read it again.
#[derive(Clone, Debug)]
pub struct CallCheck {
    has_path: bool,
    /// The body, where the path alone does not tell, and what it says.
    read: Option<(Bytes, Arc<Result<Body, Refusal>>)>,
}

impl CallCheck {
    /// Reads as much of a request as is needed; `path` is without its query.
    pub fn new(method: &Method, path: &str, body: &Bytes) -> Self {
        let rpc = rpc_of(method, path);
        let read = (rpc == Some(Rpc::TextGenerate)).then(|| (body.clone(), Arc::new(Body::read(body))));
        Self { has_path: rpc.is_some(), read }
    }

    /// Whether the service has a call; a body that cannot be read counts as if it had, because a worker can say what is wrong with it.
    pub fn has_call(&self) -> bool {
        let is_without = matches!(&self.read, Some((_, read)) if matches!(**read, Err(Refusal::Member(_))));
        self.has_path && !is_without
    }

    /// What was read of this very body; absent where the body was changed meanwhile.
    pub(crate) fn read_of(&self, body: &Bytes) -> Option<&Result<Body, Refusal>> {
        let (known, read) = self.read.as_ref()?;
        (known.as_ptr() == body.as_ptr() && known.len() == body.len()).then_some(&**read)
    }
}
