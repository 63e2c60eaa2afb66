//! Why a request got no worker.

use crate::error::ProxyError;
use crate::response::error_answer;
use bytes::Bytes;
use http::{Response, StatusCode};
use router_core::Route;

/// Why a request got no worker. It has the code and the status that a client of the router itself would get.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct RouteError {
    error: ProxyError,
    route: Route,
}

impl RouteError {
    pub(crate) const fn new(error: ProxyError, route: Route) -> Self {
        Self { error, route }
    }

    /// The error's name, as in metrics and in the body.
    pub fn code(&self) -> &'static str {
        self.error.code()
    }

    /// The status for the client.
    pub fn status(&self) -> StatusCode {
        self.error.status()
    }

    /// The whole response for the client, with a body as the clients of its route parse it.
    pub fn response(&self) -> Response<Bytes> {
        error_answer(&self.error, self.route)
    }

    pub(crate) fn into_inner(self) -> ProxyError {
        self.error
    }
}
