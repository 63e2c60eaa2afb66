//! Builds spans from records: one per request, with one child per attempt.
//!
//! Times, ids and attributes of a span are those of the records; values that a record lacks are left out.

use super::generational_map::GenerationalMap;
use crate::attempt_info::AttemptInfo;
use crate::clock::Clock;
use crate::leg::Leg;
use crate::policy_names::PolicyNames;
use crate::record::{CompletionRecord, DecisionRecord, ErrorResponseRecord, Record};
use crate::trace_context::TraceContext;
use crate::worker::WorkerNames;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use router_core::{Decision, DispatchSnapshot, Outcome, Route, Time};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The part of a decision that becomes attributes of its attempt's span.
#[derive(Clone, Copy, Debug)]
struct PendingDecision {
    decision: Decision,
    snapshot: DispatchSnapshot,
    took: Duration,
}

/// Builds spans.
#[derive(Debug)]
pub(crate) struct SpanBuilder {
    clock: Clock,
    policies: Arc<PolicyNames>,
    scope: InstrumentationScope,
    /// Decisions of attempts that have not ended, by the attempt's span.
    pending: GenerationalMap<NonZeroU64, PendingDecision>,
}

impl SpanBuilder {
    pub(crate) fn new(clock: Clock, policies: Arc<PolicyNames>) -> Self {
        let scope = InstrumentationScope::builder("sgl-router").with_version(env!("CARGO_PKG_VERSION"));
        Self { clock, policies, scope: scope.build(), pending: GenerationalMap::default() }
    }

    /// Adds the spans that end with this record to `to`.
    pub(crate) fn add(&mut self, record: &Record, names: &WorkerNames, to: &mut Vec<SpanData>) {
        match record {
            Record::Decision(d) => self.decided(d),
            Record::Completion(c) => {
                let Some(trace) = c.info.trace else { return };
                let worker = names.name(c.completion.worker);
                to.push(self.attempt_span(c, worker, &trace));
                if c.forwarded || is_cancelled_by_client(c) {
                    to.push(self.request_span(c, worker, &trace));
                }
            }
            Record::ErrorResponse(r) => to.extend(r.trace.map(|trace| self.error_response_span(r, &trace))),
            Record::FirstByte(_)
            | Record::Model(..)
            | Record::Joined(..)
            | Record::Left(..)
            | Record::Sync(_) => {}
        }
    }

    fn decided(&mut self, d: &DecisionRecord) {
        if let Some(trace) = d.info.trace {
            let decided = PendingDecision { decision: d.decision, snapshot: d.snapshot, took: d.took };
            self.pending.insert(trace.attempt_span(d.info.attempt), decided);
        }
    }

    /// The span of one attempt: the router's call to a worker.
    fn attempt_span(&mut self, c: &CompletionRecord, worker: &Arc<str>, trace: &TraceContext) -> SpanData {
        let (done, finish) = (&c.completion, &c.completion.result);
        let id = trace.attempt_span(c.info.attempt);
        let mut attributes = SpanAttributes::for_request(&c.info);
        match c.info.leg {
            Leg::Whole => attributes.text("sgl_router.policy", self.policies.name(c.info.policy)),
            leg => attributes.text("sgl_router.leg", leg.as_str()),
        }
        attributes.int("sgl_router.attempt", Some(c.info.attempt));
        attributes.add_completion(c, worker);
        if let Some(decision) = self.pending.remove(&id) {
            attributes.add_decision(&decision);
        }
        let first_byte = finish.first_byte_at;
        attributes.float(
            "sgl_router.ttft",
            c.info.time_to_first_byte(done, done.dispatched_at).map(|d| d.as_secs_f64()),
        );
        attributes.float("sgl_router.worker_queue_time", done.queue_time());
        attributes.float("sgl_router.worker_latency", finish.timing.e2e_latency);
        let status = match finish.outcome {
            Outcome::Success | Outcome::Cancelled => Status::Unset,
            outcome => Status::error(c.error.unwrap_or(outcome.as_str())),
        };
        let mut events = SpanEvents::default();
        events
            .events
            .extend(first_byte.map(|at| Event::new("first_byte", self.system_time(at), Vec::new(), 0)));
        SpanData {
            parent_span_id: span_id(trace.request_span),
            parent_span_is_remote: false,
            span_kind: SpanKind::Client,
            name: "attempt".into(),
            events,
            attributes: attributes.0,
            status,
            ..self.base_span(trace, id, done.dispatched_at, done.finished_at)
        }
    }

    /// The span of a request that got a response from a worker, or whose client left.
    fn request_span(&self, c: &CompletionRecord, worker: &Arc<str>, trace: &TraceContext) -> SpanData {
        let mut attributes = SpanAttributes::for_request(&c.info);
        attributes.text("http.route", c.info.route.as_str());
        attributes.int("sgl_router.attempts", Some(c.info.attempt + 1));
        attributes.add_completion(c, worker);
        let ttft = c.info.time_to_first_byte(&c.completion, c.info.received_at).map(|d| d.as_secs_f64());
        attributes.float("sgl_router.ttft", ttft);
        let status = match c.completion.result.outcome {
            // An invalid request is the client's error, not the server's.
            Outcome::Success | Outcome::Cancelled | Outcome::Rejected => Status::Unset,
            outcome => Status::error(c.error.unwrap_or(outcome.as_str())),
        };
        SpanData {
            attributes: attributes.0,
            status,
            ..self.root_span(c.info.route, trace, c.info.received_at, c.completion.finished_at)
        }
    }

    /// The span of a request that got an error response from the router.
    fn error_response_span(&self, r: &ErrorResponseRecord, trace: &TraceContext) -> SpanData {
        let mut attributes = SpanAttributes::default();
        attributes.text("sgl_router.request_id", r.request_id.to_string());
        attributes.text("http.route", r.route.as_str());
        attributes.int("http.response.status_code", Some(r.status.as_u16()));
        attributes.text("error.type", r.error);
        let status = if r.status.is_server_error() { Status::error(r.error) } else { Status::Unset };
        SpanData { attributes: attributes.0, status, ..self.root_span(r.route, trace, r.received_at, r.at) }
    }

    /// The span of a request, without attributes.
    fn root_span(&self, route: Route, trace: &TraceContext, start: Time, end: Time) -> SpanData {
        SpanData {
            parent_span_id: trace.parent_span.map_or(SpanId::INVALID, span_id),
            parent_span_is_remote: trace.parent_span.is_some(),
            span_kind: SpanKind::Server,
            name: route.as_str().into(),
            ..self.base_span(trace, trace.request_span, start, end)
        }
    }

    /// A span without parent, kind, name and attributes.
    fn base_span(&self, trace: &TraceContext, id: NonZeroU64, start: Time, end: Time) -> SpanData {
        let trace_id = TraceId::from(trace.trace_id.get());
        let state = TraceState::default();
        SpanData {
            span_context: SpanContext::new(trace_id, span_id(id), TraceFlags::SAMPLED, false, state),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: self.system_time(start),
            end_time: self.system_time(end),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn system_time(&self, time: Time) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.clock.unix(time)
    }
}

fn span_id(id: NonZeroU64) -> SpanId {
    SpanId::from(id.get())
}

/// Whether the request ended because its client left. Other attempts that were not forwarded are followed by another
/// decision or an error response. Of a split request only the decode leg counts.
fn is_cancelled_by_client(c: &CompletionRecord) -> bool {
    c.completion.result.outcome == Outcome::Cancelled && c.error.is_none() && c.info.leg != Leg::Prefill
}

/// The attributes of a span. Unknown values are left out.
#[derive(Debug, Default)]
struct SpanAttributes(Vec<KeyValue>);

impl SpanAttributes {
    fn for_request(info: &AttemptInfo) -> Self {
        // An upper bound for all spans.
        let mut attributes = Self(Vec::with_capacity(28));
        attributes.text("sgl_router.request_id", info.request_id.to_string());
        attributes.add("sgl_router.stream", info.stream);
        attributes
    }

    /// Adds the result of an attempt.
    fn add_completion(&mut self, c: &CompletionRecord, worker: &Arc<str>) {
        let finish = &c.completion.result;
        self.text("sgl_router.worker", Arc::clone(worker));
        self.text("sgl_router.outcome", finish.outcome.as_str());
        self.int("http.response.status_code", finish.status);
        match (finish.outcome, c.error) {
            (Outcome::Success, _) | (Outcome::Cancelled, None) => {}
            (outcome, error) => self.text("error.type", error.unwrap_or(outcome.as_str())),
        }
        self.int("gen_ai.usage.input_tokens", finish.usage.prompt_tokens);
        self.int("gen_ai.usage.output_tokens", finish.usage.output_tokens);
        self.int("sgl_router.cached_tokens", finish.usage.cached_tokens);
        if let Some(forecast) = c.completion.forecast {
            self.text("sgl_router.forecast_class", forecast.class.as_str());
            self.float("sgl_router.forecast_output_tokens", Some(forecast.mean.into()));
            self.float("sgl_router.forecast_rank", forecast.rank.map(f64::from));
        }
        self.int("sgl_router.predicted_cached_tokens", c.completion.predicted_cached_tokens);
        if finish.usage.output_tokens.is_some() {
            self.add("sgl_router.tokens_estimated", finish.usage.estimated);
        }
    }

    /// Adds the decision.
    fn add_decision(&mut self, d: &PendingDecision) {
        self.text("sgl_router.reason", d.decision.reason.as_str());
        self.float("sgl_router.cost", d.decision.cost);
        self.float("sgl_router.margin", d.decision.margin());
        self.int("sgl_router.ties", Some(d.decision.ties));
        self.int("sgl_router.candidates", Some(d.snapshot.candidates));
        self.int("sgl_router.in_flight", Some(d.snapshot.in_flight));
        self.int("sgl_router.queue_length", d.snapshot.waiting);
        self.float("sgl_router.decision_seconds", Some(d.took.as_secs_f64()));
    }

    fn text(&mut self, name: &'static str, value: impl Into<opentelemetry::StringValue>) {
        self.add(name, Value::String(value.into()));
    }

    fn int(&mut self, name: &'static str, value: Option<impl Into<i64>>) {
        if let Some(value) = value {
            self.add(name, value.into());
        }
    }

    fn float(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value.filter(|v| v.is_finite()) {
            self.add(name, value);
        }
    }

    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(Key::from_static_str(name), value));
    }
}
