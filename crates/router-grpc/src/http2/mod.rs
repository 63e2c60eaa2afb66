//! Connections of HTTP/2, by the h2 crate.

mod body;
mod connection;

pub(crate) use body::{CallBody, H2Body};
pub(crate) use connection::H2Connection;
