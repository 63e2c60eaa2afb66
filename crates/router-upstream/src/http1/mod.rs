//! HTTP/1.1 as it is spoken with workers.
//!
//! One connection carries one request at a time, and whoever waits for its answer drives it. The head goes out as it is
//! composed and the answer's body comes in as slices of what was read, so a request needs neither a task nor a queue of
//! its own. What a general client adds to that costs more than the rest of a small request's way; see DESIGN.md.

mod body_decoder;
mod connection;
mod error;
mod hop_by_hop;
mod request_encoder;
mod response_head;

pub use connection::Connection;
pub use error::{CollectError, ResponseError};
pub use request_encoder::{EncodedRequest, RequestEncoder};
