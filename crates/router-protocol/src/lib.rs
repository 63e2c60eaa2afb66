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

mod answer;
pub mod disaggregation;
mod error_body;
mod events;
mod json;
mod load_report;
mod meta_info;
mod metrics_text;
mod orca;
mod prefix;
mod prompt;
mod rank;
mod request;
mod response;
mod route;
mod script;
mod server_info;
mod sse;
mod usage;
mod v1_loads;

pub use error_body::error_body;
pub use load_report::{LoadEndpoint, LoadFigures, LoadParseError, RankLoad, parse_load};
pub use orca::parse_orca;
pub use prefix::{MAX_PREFIX_BLOCKS, PREFIX_BLOCK_BYTES, prefix_hashes};
pub use rank::set_rank;
pub use request::{RequestFacts, routing_key, scan};
pub use response::{EngineError, ResponseFacts, read_response};
pub use route::route_of;
pub use server_info::{ServerInfo, parse_server_info};
pub use sse::{MAX_EVENT_BYTES, StreamObserver};
