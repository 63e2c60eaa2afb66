//! The attempt that a record is about, and the times that follow from its end.

use crate::leg::Leg;
use crate::recorded_id::RecordedId;
use crate::recorded_pool::RecordedPool;
use crate::trace_context::TraceContext;
use router_core::{Completion, PolicyNumber, RequestFeatures, Route, Time};
use std::time::Duration;

/// What all records of one attempt say about its request.
#[derive(Clone, Debug)]
pub struct AttemptInfo {
    /// The request's id.
    pub request_id: RecordedId,
    /// The request's place in a distributed trace, if spans are exported and the trace is sampled.
    pub trace: Option<TraceContext>,
    /// The balancer that chose the worker.
    pub pool: RecordedPool,
    /// The policy that was live in it.
    pub policy: PolicyNumber,
    /// The route of the request.
    pub route: Route,
    /// Whether the client asked for a streamed response.
    pub stream: bool,
    /// The part of the request that the attempt does.
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
    /// The first attempt of a request that is not split, by the main balancer, and belongs to no trace.
    pub fn new(request_id: RecordedId, features: &RequestFeatures<'_>, received_at: Time) -> Self {
        Self {
            request_id,
            trace: None,
            pool: RecordedPool::MAIN,
            policy: PolicyNumber::default(),
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

    /// Sets the balancer.
    #[must_use]
    pub fn with_pool(self, pool: RecordedPool) -> Self {
        Self { pool, ..self }
    }

    /// Sets the policy that decided.
    #[must_use]
    pub fn with_policy(self, policy: PolicyNumber) -> Self {
        Self { policy, ..self }
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

    /// From `start` to the first byte of a streamed response. Other responses have none, because their first byte is sent
    /// after the last token.
    pub(crate) fn time_to_first_byte(&self, completion: &Completion, start: Time) -> Option<Duration> {
        completion.result.first_byte_at.filter(|_| self.stream).map(|at| at.since(start))
    }

    /// From the request in to the last byte, earlier attempts included.
    pub(crate) fn total_latency(&self, completion: &Completion) -> Duration {
        completion.finished_at.since(self.received_at)
    }
}
