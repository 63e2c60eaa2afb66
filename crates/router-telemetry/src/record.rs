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

/// What every record of one attempt says about its request.
#[derive(Clone, Debug)]
pub struct AttemptInfo {
    pub request_id: HeaderValue,
    /// Its place in a distributed trace, if it is part of one that is exported.
    pub trace: Option<TraceContext>,
    pub route: Route,
    pub stream: bool,
    /// What part of the request the attempt does.
    pub leg: Leg,
    pub attempt: u32,
    /// When the request came in.
    pub received_at: Time,
    /// Prompts in the request; 1 unless it is a batch.
    pub batch: u32,
    pub prompt_bytes: u64,
    pub prompt_tokens: Option<u32>,
    pub max_output_tokens: Option<u32>,
}

impl AttemptInfo {
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

    /// The same, as a part of `trace`.
    #[must_use]
    pub fn traced(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// The same, for an attempt that does this part of the request.
    #[must_use]
    pub fn on(self, leg: Leg) -> Self {
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
    pub info: AttemptInfo,
    pub at: Time,
    pub worker: Arc<WorkerTelemetry>,
    /// All workers at that moment, by slot.
    pub workers: WorkerDirectory,
    pub decision: Decision,
    pub snapshot: DispatchSnapshot,
    /// The chosen worker's score, if the rule compared any and somebody records it.
    pub chosen: Option<CandidateScore>,
    /// Every candidate's score; empty unless somebody records them.
    pub scores: Vec<CandidateScore>,
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
    pub info: AttemptInfo,
    pub worker: Arc<WorkerTelemetry>,
    pub completion: Completion,
    /// Requests still in flight on the worker, from this router.
    pub in_flight: u32,
    /// Whether the worker's answer went to the client; then no other attempt follows.
    pub answered: bool,
    /// The router's own code for what went wrong, where it was the router that noticed.
    pub error: Option<&'static str>,
}

/// A request that the router answered itself, with an error.
#[derive(Debug)]
pub struct RefusalRecord {
    pub request_id: HeaderValue,
    pub trace: Option<TraceContext>,
    pub route: Route,
    pub received_at: Time,
    /// When it was answered.
    pub at: Time,
    /// With what.
    pub status: StatusCode,
    pub error: &'static str,
    pub message: String,
}

/// Anything that is recorded, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Record {
    Decision(DecisionRecord),
    /// The first byte of this request's answer arrived.
    Started(HeaderValue),
    Completion(CompletionRecord),
    Refusal(RefusalRecord),
    /// Answered once everything before it has been taken in.
    Sync(Option<tokio::sync::oneshot::Sender<()>>),
}

impl Record {
    /// What part of its request it is about.
    pub(crate) const fn leg(&self) -> Leg {
        match self {
            Self::Decision(d) => d.info.leg,
            Self::Completion(c) => c.info.leg,
            Self::Started(_) | Self::Refusal(_) | Self::Sync(_) => Leg::Whole,
        }
    }
}
