//! The facts that are recorded, each built from what the balancer returned and nothing else.

use super::leg::Leg;
use crate::data_plane::TraceContext;
use crate::workers::Worker;
use http::{HeaderValue, StatusCode};
use router_core::{Completion, Decision, Explained, Features, Route, Score, Standing, Time, WorkerId};
use std::sync::Arc;
use std::time::Duration;

/// What every record of one attempt says about its request.
#[derive(Clone, Debug)]
pub(crate) struct Outline {
    pub(crate) request_id: HeaderValue,
    /// Its place in a distributed trace, if it is part of one that is exported.
    pub(crate) trace: Option<TraceContext>,
    pub(crate) route: Route,
    pub(crate) stream: bool,
    /// What part of the request the attempt does.
    pub(crate) leg: Leg,
    pub(crate) attempt: u32,
    /// When the request came in.
    pub(crate) received_at: Time,
    /// Prompts in the request; 1 unless it is a batch.
    pub(crate) batch: u32,
    pub(crate) prompt_bytes: u64,
    pub(crate) prompt_tokens: Option<u32>,
    pub(crate) max_output_tokens: Option<u32>,
}

impl Outline {
    pub(crate) fn new(request_id: HeaderValue, features: &Features<'_>, received_at: Time) -> Self {
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
    pub(crate) fn traced(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// The same, for an attempt that does this part of the request.
    #[must_use]
    pub(crate) fn on(self, leg: Leg) -> Self {
        Self { leg, attempt: leg.number(self.attempt), ..self }
    }

    /// The request id as text; ids are checked to be printable where they come in.
    pub(crate) fn id(&self) -> std::borrow::Cow<'_, str> {
        let bytes = self.request_id.as_bytes();
        std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Into::into)
    }
}

/// One decision.
#[derive(Debug)]
pub(crate) struct DecisionRecord {
    pub(crate) outline: Outline,
    pub(crate) at: Time,
    pub(crate) worker: Arc<Worker>,
    /// All workers at that moment, by slot.
    pub(crate) workers: Arc<Vec<Option<Arc<Worker>>>>,
    pub(crate) decision: Decision,
    pub(crate) standing: Standing,
    /// The chosen worker's score, if the rule compared any and somebody records it.
    pub(crate) chosen: Option<Score>,
    /// Every candidate's score; empty unless somebody records them.
    pub(crate) scores: Vec<Score>,
    pub(crate) shadows: Vec<Explained>,
    /// How long the balancer took, its lock included.
    pub(crate) took: Duration,
}

impl DecisionRecord {
    /// The name of a worker of that moment.
    pub(crate) fn url(&self, id: WorkerId) -> &Arc<str> {
        // A decision is made among the workers of its moment, so the fallback is never taken.
        let worker = self.workers.get(id.slot()).and_then(Option::as_ref).filter(|w| w.id == id);
        &worker.unwrap_or(&self.worker).name
    }
}

/// One finished attempt.
#[derive(Debug)]
pub(crate) struct CompletionRecord {
    pub(crate) outline: Outline,
    pub(crate) worker: Arc<Worker>,
    pub(crate) completion: Completion,
    /// Requests still in flight on the worker, from this router.
    pub(crate) in_flight: u32,
    /// Whether the worker's answer went to the client; then no other attempt follows.
    pub(crate) answered: bool,
    /// The router's own code for what went wrong, where it was the router that noticed.
    pub(crate) error: Option<&'static str>,
}

/// A request that the router answered itself, with an error.
#[derive(Debug)]
pub(crate) struct RefusalRecord {
    pub(crate) request_id: HeaderValue,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) route: Route,
    pub(crate) received_at: Time,
    /// When it was answered.
    pub(crate) at: Time,
    /// With what.
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) message: String,
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
    pub(super) const fn leg(&self) -> Leg {
        match self {
            Self::Decision(d) => d.outline.leg,
            Self::Completion(c) => c.outline.leg,
            Self::Started(_) | Self::Refusal(_) | Self::Sync(_) => Leg::Whole,
        }
    }
}
