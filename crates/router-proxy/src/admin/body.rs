//! Request bodies of admin routes, which are small.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::error::Error;

/// Maximum size of a request body of an admin route, in bytes.
const MAX_BODY: usize = 1 << 20;

/// Reads a whole request body.
///
/// # Errors
/// When it is larger than [`MAX_BODY`] or the connection breaks.
pub(super) async fn read(body: Incoming) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    Ok(Limited::new(body, MAX_BODY).collect().await?.to_bytes())
}
