//! The server: data plane, workers, health, metrics, admin routes.
//!
//! It holds no routing logic; every choice is the [`router_core::Balancer`]'s. It knows the wire formats only through
//! `router-protocol`.
#![allow(
    clippy::cast_precision_loss,
    reason = "counts and durations become f64 only for metrics and configuration"
)]

mod admin;
mod admission;
mod assembly;
mod error;
mod headers;
mod hedge_delay;
mod lease;
mod prefill_pool;
mod proxy;
mod request_id;
mod response;
mod retry_budget;
mod router;
mod security;
mod server;
mod start_error;
mod state;
mod stats;
mod timer;

pub use router::{Router, RunningRouter};
pub use router_telemetry::{DecisionStream, LiveDecision, NextDecision, RecorderError};
pub use router_upstream::tls::TlsError;
pub use server::ServingThreads;
pub use start_error::StartError;
pub use stats::{RouterStats, WorkerStats};

/// The code on the page for authors of policies compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-policy.md")]
struct WritingAPolicy;
