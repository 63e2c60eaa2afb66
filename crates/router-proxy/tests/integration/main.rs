//! The router's behaviour from outside: clients of its own, workers made by hand or emulated.
//!
//! One program, because each costs seconds of linking. A file has one subject.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking, and print what they skip"
)]

mod aborts;
mod access_log;
mod affinity;
mod breaker;
mod control;
mod decision_service;
mod diagnosis;
mod disaggregation;
mod forwarded;
mod forwarding;
mod grpc;
mod http2;
mod keep_alive;
mod kept_connections;
mod listening;
mod live;
mod live_config;
mod load;
mod membership;
mod messages;
mod metrics;
mod models;
mod monitoring;
mod otel;
mod overload;
mod ranks;
mod records;
mod refusals;
mod request_syntax;
mod restarts;
mod retries;
mod routing_service;
mod scale;
mod security;
mod smuggling;
mod stored_responses;
mod support;
mod tls;
mod websockets;
mod workers;
