//! HTTP/2 from clients, by hyper's server: their requests go the same way as those of HTTP/1.1, and to workers as HTTP/1.1.
//!
//! The task of a connection drives its streams, too: when the connection ends, all that its requests hold is given back at once.

mod connection;
mod request_head;
mod response_body;
mod streams;

pub(super) use connection::serve;
