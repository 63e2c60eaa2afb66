//! Emulated servers end to end, over real sockets on free ports.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lint spares only functions marked as tests")]

mod captures;
mod client;
mod control;
mod disaggregation;
mod faults;
#[cfg(feature = "grpc")]
mod grpc;
mod lifecycle;
