//! HTTP/2 from clients: the same way as HTTP/1.1 through the router, and nothing that it alone can do harm with.

mod attacks;
mod client;
mod frames;
mod lifecycle;
mod requests;
mod responses;
mod smuggling;
