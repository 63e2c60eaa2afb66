//! From records to spans: one per request, and one per attempt below it.
//!
//! Nothing is measured here. A span's times, ids and attributes are those of the records; what a record does not know
//! is left out.

use super::recent_map::RecentMap;
use crate::clock::Clock;
use crate::leg::Leg;
use crate::record::{AttemptInfo, CompletionRecord, DecisionRecord, ErrorResponseRecord, Record};
use crate::trace_context::TraceContext;
use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use router_core::{Decision, DispatchSnapshot, Outcome, Route, Time};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a decision's record adds to its attempt's span.
#[derive(Clone, Copy, Debug)]
struct Decided {
    decision: Decision,
    snapshot: DispatchSnapshot,
    took: Duration,
}

/// Makes spans.
#[derive(Debug)]
pub(crate) struct Spans {
    clock: Clock,
    policy: Arc<str>,
    scope: InstrumentationScope,
    /// The decisions of attempts that have not ended, by the attempt's span.
    decided: RecentMap<NonZeroU64, Decided>,
}

impl Spans {
    pub(crate) fn new(clock: Clock, policy: &str) -> Self {
        let scope = InstrumentationScope::builder("sgl-router").with_version(env!("CARGO_PKG_VERSION"));
        Self { clock, policy: policy.into(), scope: scope.build(), decided: RecentMap::default() }
    }

    /// Adds the spans that end with this record to `to`.
    pub(crate) fn take(&mut self, record: &Record, to: &mut Vec<SpanData>) {
        match record {
            Record::Decision(d) => self.decided(d),
            Record::Completion(c) => {
                let Some(trace) = c.info.trace else { return };
                to.push(self.attempt(c, &trace));
                if c.forwarded || client_left(c) {
                    to.push(self.request(c, &trace));
                }
            }
            Record::ErrorResponse(r) => to.extend(r.trace.map(|trace| self.error_response(r, &trace))),
            Record::Started(_) | Record::Sync(_) => {}
        }
    }

    fn decided(&mut self, d: &DecisionRecord) {
        if let Some(trace) = d.info.trace {
            let decided = Decided { decision: d.decision, snapshot: d.snapshot, took: d.took };
            self.decided.insert(trace.attempt_span(d.info.attempt), decided);
        }
    }

    /// The span of one attempt, as the router's call to a worker.
    fn attempt(&mut self, c: &CompletionRecord, trace: &TraceContext) -> SpanData {
        let (done, finish) = (&c.completion, &c.completion.result);
        let id = trace.attempt_span(c.info.attempt);
        let mut attributes = Attributes::of_request(&c.info);
        match c.info.leg {
            Leg::Whole => attributes.text("sgl_router.policy", Arc::clone(&self.policy)),
            leg => attributes.text("sgl_router.leg", leg.as_str()),
        }
        attributes.int("sgl_router.attempt", Some(c.info.attempt));
        attributes.ended(c);
        if let Some(decided) = self.decided.remove(&id) {
            attributes.decided(&decided);
        }
        let first_byte = finish.first_byte_at;
        attributes.float("sgl_router.ttft", ttft(c, done.dispatched_at).map(|d| d.as_secs_f64()));
        let timing = finish.timing;
        let queue_time = timing.queue_time.or_else(|| Some(timing.queue_end? - timing.queue_start?));
        attributes.float("sgl_router.worker_queue_time", queue_time);
        attributes.float("sgl_router.worker_latency", timing.e2e_latency);
        let status = match finish.outcome {
            Outcome::Success | Outcome::Cancelled => Status::Unset,
            outcome => Status::error(c.error.unwrap_or(outcome.as_str())),
        };
        let mut events = SpanEvents::default();
        events.events.extend(first_byte.map(|at| Event::new("first_byte", self.time(at), Vec::new(), 0)));
        SpanData {
            parent_span_id: span(trace.request_span),
            parent_span_is_remote: false,
            span_kind: SpanKind::Client,
            name: "attempt".into(),
            events,
            ..self.span(trace, id, (done.dispatched_at, done.finished_at), (attributes, status))
        }
    }

    /// The span of a request that got a response from a worker, or whose client left.
    fn request(&self, c: &CompletionRecord, trace: &TraceContext) -> SpanData {
        let mut attributes = Attributes::of_request(&c.info);
        attributes.text("http.route", c.info.route.as_str());
        attributes.int("sgl_router.attempts", Some(c.info.attempt + 1));
        attributes.ended(c);
        let ttft = ttft(c, c.info.received_at).map(|d| d.as_secs_f64());
        attributes.float("sgl_router.ttft", ttft);
        let status = match c.completion.result.outcome {
            // A request that was wrong is its client's failure, not this server's.
            Outcome::Success | Outcome::Cancelled | Outcome::Rejected => Status::Unset,
            outcome => Status::error(c.error.unwrap_or(outcome.as_str())),
        };
        let times = (c.info.received_at, c.completion.finished_at);
        self.root(c.info.route, trace, times, (attributes, status))
    }

    /// The span of a request that got an error response from the router.
    fn error_response(&self, r: &ErrorResponseRecord, trace: &TraceContext) -> SpanData {
        let mut attributes = Attributes::default();
        attributes.text("sgl_router.request_id", text(&r.request_id));
        attributes.text("http.route", r.route.as_str());
        attributes.int("http.response.status_code", Some(r.status.as_u16()));
        attributes.text("error.type", r.error);
        let status = if r.status.is_server_error() { Status::error(r.error) } else { Status::Unset };
        self.root(r.route, trace, (r.received_at, r.at), (attributes, status))
    }

    fn root(
        &self,
        route: Route,
        trace: &TraceContext,
        times: (Time, Time),
        what: (Attributes, Status),
    ) -> SpanData {
        SpanData {
            parent_span_id: trace.parent_span.map_or(SpanId::INVALID, span),
            parent_span_is_remote: trace.parent_span.is_some(),
            span_kind: SpanKind::Server,
            name: route.as_str().into(),
            ..self.span(trace, trace.request_span, times, what)
        }
    }

    fn span(
        &self,
        trace: &TraceContext,
        id: NonZeroU64,
        (start, end): (Time, Time),
        (attributes, status): (Attributes, Status),
    ) -> SpanData {
        let trace_id = TraceId::from(trace.trace_id.get());
        let state = TraceState::default();
        SpanData {
            span_context: SpanContext::new(trace_id, span(id), TraceFlags::SAMPLED, false, state),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time: self.time(start),
            end_time: self.time(end),
            attributes: attributes.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }

    fn time(&self, time: Time) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.clock.unix(time)
    }
}

fn span(id: NonZeroU64) -> SpanId {
    SpanId::from(id.get())
}

/// Whether this attempt's end is the request's. Any other that was not forwarded is followed by a decision or a
/// refusal; where there are two legs, the one that writes the answer tells.
fn client_left(c: &CompletionRecord) -> bool {
    c.completion.result.outcome == Outcome::Cancelled && c.error.is_none() && c.info.leg != Leg::Prefill
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// From `since` to the first byte. The first byte of an answer that is not streamed is also its last, so such an answer
/// has none.
fn ttft(c: &CompletionRecord, since: Time) -> Option<Duration> {
    c.completion.result.first_byte_at.filter(|_| c.info.stream).map(|at| at.since(since))
}

/// A span's attributes. What is unknown is left out.
#[derive(Debug, Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn of_request(info: &AttemptInfo) -> Self {
        // No span has more.
        let mut attributes = Self(Vec::with_capacity(24));
        attributes.text("sgl_router.request_id", text(&info.request_id));
        attributes.add("sgl_router.stream", info.stream);
        attributes
    }

    /// How an attempt ended.
    fn ended(&mut self, c: &CompletionRecord) {
        let finish = &c.completion.result;
        self.text("sgl_router.worker", Arc::clone(&c.worker.name));
        self.text("sgl_router.outcome", finish.outcome.as_str());
        self.int("http.response.status_code", finish.status);
        match (finish.outcome, c.error) {
            (Outcome::Success, _) | (Outcome::Cancelled, None) => {}
            (outcome, error) => self.text("error.type", error.unwrap_or(outcome.as_str())),
        }
        self.int("gen_ai.usage.input_tokens", finish.usage.prompt_tokens);
        self.int("gen_ai.usage.output_tokens", finish.usage.output_tokens);
        self.int("sgl_router.cached_tokens", finish.usage.cached_tokens);
        if finish.usage.output_tokens.is_some() {
            self.add("sgl_router.tokens_estimated", finish.usage.estimated);
        }
    }

    /// Why the worker was chosen.
    fn decided(&mut self, d: &Decided) {
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
