//! Disaggregated requests: one worker prefills, another one decodes.
//!
//! Each leg is a dispatch of its own, in a pool of its own, with a lease that lasts to the leg's end. A failure of one
//! leg before the client has a byte ends both and, where the rules allow it, retries both. Without
//! `--pd-disaggregation` none of this code runs.

mod leg;
mod prefill;
mod sglang;
mod split_request;
mod vllm;

pub(super) use split_request::SplitRequest;

use super::request::ProxyRequest;
use http::Method;

/// Whether a request is split. All others go to one of the decode workers as they are.
pub(super) fn is_split(request: &ProxyRequest<'_>) -> bool {
    request.origin.route.is_split() && request.method == Method::POST
}
