//! The languages of inference engines: what a request asks for, what an answer teaches, how loaded a worker is.
//!
//! Bytes in, facts out. Nothing here does I/O, reads a clock or decides where a request goes, and nothing builds a
//! JSON tree: one forward pass picks the few members a router needs. Every reader takes bytes from strangers, so none
//! can fail on them: unknown is `None`, and each costs time linear in its input.
#![cfg_attr(
    not(test),
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "gauges are floats on the wire and convert at stated, saturating ranges"
    )
)]

pub mod disaggregation;
mod error_body;
mod json;
mod load;
mod request;
mod response;
mod route;
mod server_info;

pub use error_body::error_body;
pub use load::{LoadEndpoint, LoadFigures, LoadParseError, RankLoad, WorkerLoad, parse_load, parse_orca};
pub use request::{
    MAX_PREFIX_BLOCKS, PREFIX_BLOCK_BYTES, RequestFacts, prefix_hashes, routing_key, scan, set_members,
    set_rank,
};
pub use response::{EngineError, MAX_EVENT_BYTES, ResponseFacts, StreamObserver, read_response};
pub use route::route_of;
pub use server_info::{ServerInfo, parse_server_info};
