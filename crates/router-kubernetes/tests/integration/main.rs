//! Discovery against an API server that does what the real one does to a watcher.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "tests fail by panicking, and print what they measure"
)]

mod api_server;
mod disturbances;
mod histories;
mod load;
mod objects;
mod pools;
mod readings;
mod routing;
mod watcher;
