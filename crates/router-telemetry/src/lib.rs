//! Telemetry of the router: metrics, record files, request traces and spans, all computed from records alone.
//!
//! A record is built from a [`Decision`](router_core::Decision) or a [`Completion`](router_core::Completion) and
//! nothing else, so it cannot differ from what was decided. Metrics are counted at once; everything slower runs on the
//! recorder's thread, behind a bounded queue that routing never waits for.
//!
//! ```text
//! telemetry ──▶ metrics                     counted at once
//!     │ ──────▶ broadcast, feed             subscribers in this process, those who watch the router
//!     ▼
//!   queue ──▶ recorder ──▶ files, traces, otel   on the recorder's thread
//!
//! access_log                                  a line for each request, on a thread of its own
//!
//! record ──▶ worker, attempt_info ──▶ recorded_id, leg, trace_context, clock, process, prometheus   what all of these share
//! ```
#![allow(clippy::cast_precision_loss, reason = "counts and durations become f64 only where they are shown")]

mod access_log;
mod attempt_info;
mod breaker_state;
mod broadcast;
mod clock;
mod control_outcome;
mod failure_reason;
mod feed;
mod files;
mod leg;
mod metrics;
mod otel;
mod policy_names;
mod process;
mod prometheus;
mod queue;
mod record;
mod recorded_id;
mod recorded_pool;
mod recorder;
mod retry_reason;
mod telemetry;
mod trace_context;
mod traces;
mod worker;

pub use access_log::{AccessEntry, AccessLog, AccessLogError, AccessRequest, AttemptNotes};
pub use attempt_info::AttemptInfo;
pub use breaker_state::BreakerState;
pub use broadcast::{DecisionBroadcast, DecisionStream, LiveDecision, NextDecision};
pub use clock::Clock;
pub use control_outcome::ControlOutcome;
pub use failure_reason::FailureReason;
pub use feed::{LiveChoice, LiveCompletion, LiveEvent, LiveFeed, LiveFirstByte};
pub use leg::Leg;
pub use metrics::{BalancerGauges, DiscoveryGauges, Metrics, ScaleGauges, WaitingGuard, WorkerGauges};
pub use policy_names::PolicyNames;
pub use prometheus::JoinedPage;
pub use prometheus::family::Buckets;
pub use record::{CompletionRecord, DecisionRecord, ErrorResponseRecord};
pub use recorded_id::RecordedId;
pub use recorded_pool::RecordedPool;
pub use recorder::{Recorder, RecorderConfig, RecorderError};
pub use retry_reason::RetryReason;
pub use telemetry::Telemetry;
pub use trace_context::{TRACEPARENT, TraceContext, TraceIds, random_seed};
pub use traces::{TraceQuery, TraceStatus, TraceStore};
pub use worker::{WorkerCounts, WorkerMetrics, WorkerTelemetry};
