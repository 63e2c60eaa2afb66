//! Header names of the router's own.

use http::HeaderName;

/// Carries the request id, to the worker and back to the client.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names the worker that responded.
pub(crate) const WORKER: HeaderName = HeaderName::from_static("x-sglang-worker");

/// Names the worker that prefilled a split request.
pub(crate) const PREFILL_WORKER: HeaderName = HeaderName::from_static("x-sglang-prefill-worker");
