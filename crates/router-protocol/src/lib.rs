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
pub mod error_body;
mod events;
mod json;
pub mod load_report;
mod meta_info;
mod metrics_text;
mod orca;
pub mod prefix;
mod prompt;
mod rank;
pub mod request;
pub mod response;
pub mod route;
mod script;
pub mod server_info;
mod splice;
pub mod sse;
mod usage;
mod v1_loads;

pub use bytes::Bytes;
pub use error_body::error_body;
pub use load_report::{LoadEndpoint, LoadFacts, LoadParseError, RankLoad, parse_load};
pub use orca::parse_orca;
pub use prefix::{BLOCK_BYTES, MAX_BLOCKS, prefix_hashes};
pub use rank::set_rank;
pub use request::{RequestFacts, routing_key, scan};
pub use response::{AnswerError, AnswerFacts, whole};
pub use route::route_of;
pub use server_info::{ServerInfo, parse_server_info};
pub use splice::splice;
pub use sse::StreamWatch;
