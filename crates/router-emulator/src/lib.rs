//! Emulated inference servers: an HTTP API, and SGLang's gRPC service, on the pure engine model.
//!
//! An emulated server responds like an SGLang server, at the pace of a real GPU, with queues, a prefix cache and
//! faults on demand, so that a router can be run, measured and broken on a laptop. Its texts are made up; its
//! token counts follow a stated rule (`text`), its times a fitted model (`router-engine`).
//!
//! It is not a router and knows nothing of one; it does not imitate logits, images or tools, and of vLLM nothing but how
//! a prefill server hands a prompt over.
//!
//! Where it knowingly differs from a real server: `/health` responds at once instead of after a second; one
//! server serves generation and embeddings; a client that leaves frees its slot at once instead of after up to
//! two seconds; logprobs are those of the prompt alone, and made up; `cached_tokens` is reported in `usage` as with `--enable-cache-report`.
//!
//! Modules, with arrows only downwards:
//!
//! ```text
//! fleet, emulator       start and stop servers
//! grpc                  SGLang's gRPC service, on the routes of HTTP
//! server                accept loop, authorisation, faults, route table
//! routes                handlers: generate, scoring, info, metrics, disaggregation, control
//! state                 what the routes of one server share
//! api                   wire formats of requests, responses, events and errors
//! engine_task, faults, kv_transfer, control_state, clock, config
//! ```
//!
//! ```no_run
//! # async fn start() -> std::io::Result<()> {
//! use router_emulator::{EmulatedFleet, EmulatorConfig, FleetSpec};
//! use router_engine::EngineProfile;
//!
//! let spec: FleetSpec = "a100*1,t4*2".parse().map_err(std::io::Error::other)?;
//! let base = EmulatorConfig::new(EngineProfile::named("a100").ok_or(std::io::ErrorKind::NotFound)?);
//! let fleet = EmulatedFleet::start(&spec, None, &base).await?;
//! println!("{:?}", fleet.urls());
//! fleet.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod clock;
mod config;
mod control_state;
mod emulator;
mod engine_task;
mod faults;
mod fleet;
#[cfg(feature = "grpc")]
mod grpc;
mod kv_transfer;
mod routes;
mod server;
mod state;

pub use config::{EmulatorConfig, ServerRole, SglangVersion, UnknownVersion};
pub use emulator::{Emulator, RunningEmulator};
pub use engine_task::driver::EngineStats;
pub use faults::{Fault, FaultKind};
pub use fleet::EmulatedFleet;
pub use router_engine::{FleetError, FleetPart, FleetSpec};
