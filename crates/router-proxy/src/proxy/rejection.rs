//! A request that gets an error response of the router.

use super::buffered_response::BufferedResponse;
use crate::error::ProxyError;

/// Why the router responds with an error of its own.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) error: ProxyError,
    /// The best response of the workers that were tried, which the client gets in place of the router's own.
    pub(super) fallback: Option<Box<BufferedResponse>>,
    /// A part of the request's body may not have arrived yet.
    pub(super) is_body_unread: bool,
}

impl Rejection {
    /// The client gets `fallback`, where there is one.
    pub(super) fn with_fallback(error: ProxyError, fallback: Option<Box<BufferedResponse>>) -> Self {
        Self { fallback, ..error.into() }
    }

    pub(super) const fn unread(error: ProxyError) -> Self {
        Self { error, fallback: None, is_body_unread: true }
    }
}

impl From<ProxyError> for Rejection {
    fn from(error: ProxyError) -> Self {
        Self { error, fallback: None, is_body_unread: false }
    }
}
