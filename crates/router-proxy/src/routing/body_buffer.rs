//! The body of a request that comes piece by piece, for those that carry requests themselves.

use super::route_error::RouteError;
use crate::request_body::BodyCollector;
use bytes::Bytes;
use router_core::Route;

/// Collects the pieces of a request's body, within the bounds that the router has for one body and for all.
#[derive(Debug)]
pub struct BodyBuffer(BodyCollector);

impl BodyBuffer {
    pub(super) const fn new(collector: BodyCollector) -> Self {
        Self(collector)
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// When the body is larger than `--max-payload-size`, or all bodies together are larger than `--max-buffered-bytes`.
    pub fn push(&mut self, data: Bytes) -> Result<(), RouteError> {
        if data.is_empty() {
            return Ok(());
        }
        self.0.take(data).map_err(|error| RouteError::new(error, Route::Other))
    }

    /// The whole body.
    pub fn finish(self) -> Bytes {
        self.0.finish()
    }
}
