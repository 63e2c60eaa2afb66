//! Emulated servers end to end, over real sockets on free ports.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "the lint spares only functions marked as tests")]

mod client;
mod faults;
mod legs;
mod lifecycle;
mod shapes;
