//! The server: data plane, workers, health, metrics, admin routes.
//!
//! It holds no routing logic; every choice is the [`router_core::Balancer`]'s. It knows the wire formats only through
//! `router-protocol`.
#![allow(
    clippy::cast_precision_loss,
    reason = "counts and durations become f64 only for metrics and configuration"
)]

mod admin;
mod alarm;
mod data_plane;
mod error;
mod http1;
mod lease;
mod router;
mod security;
mod server;
mod stats;
mod wire;
mod workers;

pub use router::{Router, RunningRouter, StartError};
pub use router_telemetry::{DecisionStream, LiveDecision, NextDecision, RecorderError};
pub use security::TlsError;
pub use server::ServingThreads;
pub use stats::{RouterStats, WorkerStats};

/// The code on the page for authors of policies compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-policy.md")]
struct WritingAPolicy;
