//! The facts that are recorded, each built from what the balancer returned and nothing else.

use crate::leg::Leg;
use crate::trace_context::TraceContext;
use crate::worker::{WorkerDirectory, WorkerTelemetry};
use http::{HeaderValue, StatusCode};
use router_core::{
    CandidateScore, Completion, Decision, DispatchSnapshot, ExplainedDecision, RequestFeatures, Route, Time,
    WorkerId,
};
use std::sync::Arc;
use std::time::Duration;

/// What all records of one attempt say about its request.
#[derive(Clone, Debug)]
pub struct AttemptInfo {
    /// The request's id.
    pub request_id: HeaderValue,
    /// The request's place in a distributed trace, if spans are exported and the trace is sampled.
    pub trace: Option<TraceContext>,
    /// The route of the request.
    pub route: Route,
    /// Whether the client asked for a streamed response.
    pub stream: bool,
    /// What part of the request the attempt does.
    pub leg: Leg,
    /// The number of the attempt, from 0.
    pub attempt: u32,
    /// When the request came in.
    pub received_at: Time,
    /// Prompts in the request; 1 unless it is a batch.
    pub batch: u32,
    /// Length of the prompt in bytes.
    pub prompt_bytes: u64,
    /// Length of the prompt in tokens, where the request gives token ids.
    pub prompt_tokens: Option<u32>,
    /// Most tokens that the response may have.
    pub max_output_tokens: Option<u32>,
}

impl AttemptInfo {
    /// The first attempt of a request that is not split and belongs to no trace.
    pub fn new(request_id: HeaderValue, features: &RequestFeatures<'_>, received_at: Time) -> Self {
        Self {
            request_id,
            trace: None,
            route: features.route,
            stream: features.stream,
            leg: Leg::Whole,
            attempt: features.attempt,
            received_at,
            batch: features.batch,
            prompt_bytes: features.prompt_bytes,
            prompt_tokens: features.prompt_tokens,
            max_output_tokens: features.max_output_tokens,
        }
    }

    /// Sets the distributed trace.
    #[must_use]
    pub fn with_trace(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// Sets the part of the request that the attempt does, and the attempt's number with it.
    #[must_use]
    pub fn with_leg(self, leg: Leg) -> Self {
        Self { leg, attempt: leg.number(self.attempt), ..self }
    }

    /// The request id as text; ids are checked to be printable where they come in.
    pub fn id(&self) -> std::borrow::Cow<'_, str> {
        let bytes = self.request_id.as_bytes();
        std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Into::into)
    }
}

/// One decision.
#[derive(Debug)]
pub struct DecisionRecord {
    /// The attempt that the decision is for.
    pub info: AttemptInfo,
    /// When it was made.
    pub at: Time,
    /// The chosen worker.
    pub worker: Arc<WorkerTelemetry>,
    /// All workers at that moment, by slot.
    pub workers: WorkerDirectory,
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
    /// How long the balancer took, its lock included.
    pub took: Duration,
}

impl DecisionRecord {
    /// The name of a worker of that moment.
    pub fn url(&self, id: WorkerId) -> &Arc<str> {
        // A decision is made among the workers of its moment, so the fallback is never taken.
        let worker = self.workers.get(id.slot()).and_then(Option::as_ref).filter(|w| w.id == id);
        &worker.unwrap_or(&self.worker).name
    }
}

/// One finished attempt.
#[derive(Debug)]
pub struct CompletionRecord {
    /// The attempt.
    pub info: AttemptInfo,
    /// The worker it ran on.
    pub worker: Arc<WorkerTelemetry>,
    /// What the balancer learned from it.
    pub completion: Completion,
    /// Requests still in flight on the worker, from this router.
    pub in_flight: u32,
    /// Whether the worker's response was forwarded to the client; then no other attempt follows.
    pub forwarded: bool,
    /// The router's error code, where the router found the failure.
    pub error: Option<&'static str>,
}

/// A request that got an error response from the router itself.
#[derive(Debug)]
pub struct ErrorResponseRecord {
    /// The request's id.
    pub request_id: HeaderValue,
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

/// Anything that is recorded, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Record {
    Decision(DecisionRecord),
    /// The first byte of this request's answer arrived.
    Started(HeaderValue),
    Completion(CompletionRecord),
    ErrorResponse(ErrorResponseRecord),
    /// Answered once everything before it has been taken in.
    Sync(Option<tokio::sync::oneshot::Sender<()>>),
}

impl Record {
    /// What part of its request it is about.
    pub(crate) const fn leg(&self) -> Leg {
        match self {
            Self::Decision(d) => d.info.leg,
            Self::Completion(c) => c.info.leg,
            Self::Started(_) | Self::ErrorResponse(_) | Self::Sync(_) => Leg::Whole,
        }
    }
}
