//! The workers: connections to them, their health, and the pool that requests choose from.
//!
//! ```text
//! membership, health_checker, load_poller, discovery,    tasks and changes of a pool
//! weight_tracking
//!     │
//!     ▼
//! pool ──▶ table ──▶ candidate ──▶ worker ──▶ health          states, without I/O
//!   │                                │
//!   ▼                                ▼
//! capacity_queue ──▶ wait_queue   connection_pool ──▶ connect ──▶ happy_eyeballs, tls
//!                                    │
//!                                    ▼
//!                                  http1                      the HTTP/1.1 client
//! ```
//!
//! It makes no routing decision: the [`router_core::Balancer`] chooses the worker of a request.
#![allow(clippy::cast_precision_loss, reason = "counts become f64 only where times are scaled")]

mod arrival;
mod availability;
mod candidate;
mod capacity_queue;
mod client;
mod coalesced_write;
mod connect;
mod connect_error;
mod connection_pool;
mod cooldown;
mod discovery;
mod engine;
mod failure;
mod fleet_log;
mod fleet_weights;
#[cfg(feature = "grpc")]
mod grpc;
mod happy_eyeballs;
mod health;
mod health_checker;
mod http1;
mod invalid_worker;
mod load;
mod load_poll_pace;
mod load_poller;
mod membership;
mod placement;
mod pool;
mod pool_model;
mod profile;
mod recheck;
mod served_models;
mod shared_needs;
mod shared_timer;
mod standalone;
#[cfg(feature = "grpc")]
mod state_watcher;
mod stored_objects;
mod table;
mod target;
pub mod tls;
mod transport;
mod wait_queue;
mod wait_times;
mod weight_tracking;
mod weight_update;
mod worker;
mod worker_connection;
mod worker_request;

pub use arrival::Arrival;
pub use availability::{AttemptEnd, AttemptKind, BreakerStatus};
pub use candidate::Candidate;
pub use capacity_queue::{Availability, CapacityQueue, DispatchError};
pub use client::{ClientError, abort, get, get_at_most, request, root_cause};
pub use coalesced_write::write_coalesced;
pub use connect::{ConnectConfig, WorkerStream};
pub use connect_error::ConnectError;
pub use connection_pool::UpstreamError;
pub use engine::{EngineQuirks, LOAD_REPORT_HEADER, RANK_HEADER};
pub use fleet_weights::FleetWeights;
pub use health::{HealthProblem, HealthState, HealthVerdict, Readiness, ReadinessProblem, WorkerFailure};
pub use http1::{CollectError, Connection, EncodedRequest, RequestEncoder, ResponseError, SendError};
pub use load::WorkerLoad;
pub use membership::MembershipError;
pub use pool::{PoolConfig, WorkerPool};
pub use pool_model::{DirectoryLink, ModelDirectory, Place, PoolModel};
pub use profile::WorkerProfile;
pub use served_models::ServedModels;
pub use shared_needs::SharedNeeds;
pub use standalone::standalone_worker;
pub use stored_objects::StoredObjects;
pub use table::CandidateTable;
pub use target::{WorkerProtocol, WorkerTarget};
pub use transport::WorkerTransport;
pub use wait_queue::{WaitAttempt, WaitClass, WaitLimit, WaitOrder, WaitPermit, WaitQueue};
pub use wait_times::{WaitTimes, WaitingSince};
pub use weight_update::{MissedUpdate, UpdateScope, WeightUpdate};
pub use worker::Worker;
pub use worker_connection::WorkerConnection;
pub use worker_request::{CallCheck, RequestBuilder, WorkerRequest};
