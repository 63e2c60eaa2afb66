//! Records: the facts that telemetry is computed from, each built from what the balancer returned and nothing else.

use crate::attempt_info::AttemptInfo;
use crate::leg::Leg;
use crate::recorded_id::RecordedId;
use crate::trace_context::TraceContext;
use crate::worker::WorkerTelemetry;
use http::StatusCode;
use router_core::{
    CandidateScore, Completion, Decision, DispatchSnapshot, ExplainedDecision, Outcome, Route, Time, WorkerId,
};
use std::sync::Arc;
use std::time::Duration;

/// One decision. It names workers by their ids.
#[derive(Debug)]
pub struct DecisionRecord {
    /// The attempt that the decision is for.
    pub info: AttemptInfo,
    /// When it was made.
    pub at: Time,
    /// What the policy decided.
    pub decision: Decision,
    /// The balancer's figures at the decision, before the request was counted.
    pub snapshot: DispatchSnapshot,
    /// The chosen worker's score, if the policy compared scores and it is recorded.
    pub chosen: Option<CandidateScore>,
    /// Every candidate's score; empty unless they are recorded.
    pub scores: Vec<CandidateScore>,
    /// What the shadow policies decided.
    pub shadows: Vec<ExplainedDecision>,
    /// How long the decision took, including the wait for the balancer's lock.
    pub took: Duration,
}

/// One finished attempt.
#[derive(Debug)]
pub struct CompletionRecord {
    /// The attempt.
    pub info: AttemptInfo,
    /// What the balancer learned from it.
    pub completion: Completion,
    /// Requests still in flight on the worker, from this router.
    pub in_flight: u32,
    /// Whether the worker's response was forwarded to the client; then no other attempt follows.
    pub forwarded: bool,
    /// The router's error code, where the router found the failure.
    pub error: Option<&'static str>,
}

impl CompletionRecord {
    /// Whether this is the end of a split stream that failed after a part was sent to the client.
    pub(crate) fn is_failed_split_stream(&self) -> bool {
        let is_failed = matches!(self.completion.result.outcome, Outcome::Failed | Outcome::Busy);
        self.info.leg != Leg::Whole && is_failed && self.forwarded && self.info.stream && self.error.is_some()
    }

    /// Whether this is the end of a WebSocket that one of its two ends closed.
    pub(crate) fn is_ended_tunnel(&self) -> bool {
        let switched = StatusCode::SWITCHING_PROTOCOLS.as_u16();
        self.completion.result.status == Some(switched) && self.error.is_none()
    }
}

/// A request that got an error response from the router itself.
#[derive(Debug)]
pub struct ErrorResponseRecord {
    /// The request's id.
    pub request_id: RecordedId,
    /// The request's place in a distributed trace, if spans are exported and the trace is sampled.
    pub trace: Option<TraceContext>,
    /// The route of the request.
    pub route: Route,
    /// When the request came in.
    pub received_at: Time,
    /// When the error response was made.
    pub at: Time,
    /// The status of the error response.
    pub status: StatusCode,
    /// The error code.
    pub error: &'static str,
    /// The error message.
    pub message: String,
}

/// The balancer that a record is of. Each numbers its workers and its decisions separately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordedPool {
    /// That of the workers that serve requests, or that decode where prefill is apart.
    Main,
    /// That of the prefill workers.
    Prefill,
}

impl RecordedPool {
    /// The pool's name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Prefill => "prefill",
        }
    }
}

/// One entry of the recorder's queue. Entries are in the order in which they happened.
#[derive(Debug)]
pub(crate) enum Record {
    Decision(DecisionRecord),
    /// The first byte of the response to the request with this id arrived.
    FirstByte(RecordedId),
    Completion(CompletionRecord),
    ErrorResponse(ErrorResponseRecord),
    /// A worker joined: the records that follow may have its id.
    Joined(RecordedPool, Arc<WorkerTelemetry>),
    /// A worker left: records that follow have its id only if they are about attempts that it still runs.
    Left(RecordedPool, WorkerId),
    /// Notifies the sender once all earlier records have been processed; `None` once it has.
    Sync(Option<tokio::sync::oneshot::Sender<()>>),
}

impl Record {
    /// The balancer that it is of.
    pub(crate) const fn pool(&self) -> RecordedPool {
        match self {
            Self::Decision(DecisionRecord { info, .. }) | Self::Completion(CompletionRecord { info, .. }) => {
                match info.leg {
                    Leg::Prefill => RecordedPool::Prefill,
                    Leg::Whole | Leg::Decode => RecordedPool::Main,
                }
            }
            Self::Joined(pool, _) | Self::Left(pool, _) => *pool,
            Self::FirstByte(_) | Self::ErrorResponse(_) | Self::Sync(_) => RecordedPool::Main,
        }
    }
}
