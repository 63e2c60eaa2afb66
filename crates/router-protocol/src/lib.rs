//! The protocols of inference engines (SGLang, vLLM): facts about requests, responses and the load of workers.
//!
//! Bytes in, facts out. Nothing here does I/O, reads a clock or decides where a request goes, and nothing builds a
//! JSON tree: one forward pass picks the few members that a router needs. The bytes come from clients and workers that
//! are not trusted, so no reader panics on any bytes, what is unknown is `None`, and the time is linear in the input.
//!
//! Modules, each of which uses only those below it:
//!
//! ```text
//! disaggregation    request and response of a prefill and a decode server
//!   |        |
//! request  response    scan(), StreamObserver, read_response(), EngineError
//!   |        |   |
//!   |        |  load     parse_load(), parse_orca(), LoadFigures
//!   |        |   |
//!   +--------+---+-- server_info
//!   |
//!  json              the forward reader of JSON
//!
//! server_metrics     uses server_info
//! prometheus_text    the lines of a Prometheus page, for load and server_metrics
//! error_body         stands alone
//! ```
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
mod prometheus_text;
mod request;
mod response;
mod server_info;
mod server_metrics;

pub use error_body::{error_body, messages_error_body};
pub use load::{LoadEndpoint, LoadFigures, LoadParseError, RankLoad, WorkerLoad, parse_load, parse_orca};
pub use request::{
    MAX_PREFIX_BLOCKS, OwnedFacts, PREFIX_BLOCK_BYTES, RequestFacts, SessionNames, prefix_hashes,
    routing_key, scan, set_members, set_rank,
};
pub use response::{EngineError, MAX_EVENT_BYTES, ResponseFacts, StreamObserver, read_response};
pub use server_info::{ListedModel, ServerInfo, parse_server_info};
pub use server_metrics::parse_server_metrics;
