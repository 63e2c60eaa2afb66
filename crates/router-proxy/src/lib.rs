//! The server: data plane, workers, health, metrics, admin routes.
//!
//! It holds no routing logic; every choice is the [`router_core::Balancer`]'s. It knows the wire formats only through
//! `router-protocol`.
//!
//! Its modules, each of which uses only those below it:
//!
//! ```text
//! router                                  starts and stops a router
//!   assembly                              builds AppState from the configuration
//!   discovered_workers                    workers that join and drain as their pods do
//!   server                                listeners, connections, serving threads
//!     proxy                               one request: authorize, admit, dispatch, retry
//!       admin                             the routes that the router serves itself
//!         live                            what those see who watch the router
//!         routing                         the features of a request, and the dispatch to a worker
//!         request_body                    reads the body of a request
//!         state                           AppState, which all requests share
//!           carried                       requests that are routed here and carried by others
//!           dispatch                      which workers a request may go to, and the dispatch to one
//!           response                      bodies on their way to the client, and tunnels
//!             lease                       one attempt's hold on a worker
//!             admission, security         who may send requests, and how many at a time
//!               error                     errors, their status and their code
//! request_id, hedge_delay, retry_budget, prefill_pool, stats, viewers    parts of AppState
//! timer, headers, error, scale_figures, start_error                            use no other module
//! ```
#![allow(
    clippy::cast_precision_loss,
    reason = "counts and durations become f64 only for metrics and configuration"
)]

mod admin;
mod admission;
mod assembly;
mod atomic_duration;
mod carried;
mod config_change;
#[cfg(feature = "kubernetes")]
mod discovered_workers;
mod dispatch;
mod error;
mod headers;
mod hedge_delay;
mod large_body;
mod lease;
mod live;
mod live_config;
mod live_settings;
mod models;
mod prefill_pool;
mod proxy;
mod request_body;
mod request_id;
mod response;
mod retry_budget;
mod router;
mod routing;
mod scale_figures;
mod security;
mod server;
mod start_error;
mod state;
mod stats;
mod timer;
mod viewers;

pub use admin::{TrackingDisabled, WorkersError};
pub use carried::{RoutedRequest, WorkerAddress};
pub use config_change::DryRun;
pub use router::{Hosting, Router, RunningRouter};
pub use router_telemetry::{AccessLogError, DecisionStream, LiveDecision, NextDecision, RecorderError};
pub use router_upstream::tls::TlsError;
pub use routing::{
    BodyBuffer, DescribedRequest, PreviewScore, RouteBody, RouteError, RoutePreview, RouteRequest,
    RoutingService,
};
pub use security::{AlpnProtocols, ServerTls, watch_certificate};
pub use server::ServingThreads;
pub use start_error::StartError;
pub use stats::{RouterStats, WorkerStats};

/// The code on the page for authors of policies compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/writing-a-policy.md")]
struct WritingAPolicy;
