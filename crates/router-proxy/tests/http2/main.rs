//! HTTP/2 from clients: the same way as HTTP/1.1 through the router, and nothing that it alone can do harm with.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod client;
mod frames;
mod lifecycle;
mod requests;
mod responses;
mod smuggling;
