//! The trace of one request in a compact form, and its JSON.

use crate::clock::Clock;
use crate::leg::Leg;
use crate::policy_names::PolicyNames;
use crate::record::{CompletionRecord, DecisionRecord, ErrorResponseRecord};
use crate::worker::WorkerNames;
use router_core::{CandidateScore, Outcome, PolicyNumber, Reason, Route, Time, VerifiedForecast};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The state of a traced request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TraceStatus {
    /// A worker was chosen.
    Routed,
    /// The first byte of the response arrived.
    Processing,
    /// The request succeeded.
    Completed,
    /// The request failed, was cancelled or was rejected.
    Failed,
}

impl TraceStatus {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Routed, Self::Processing, Self::Completed, Self::Failed];

    /// The name of the state in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// The trace of one request.
#[derive(Debug)]
pub(crate) struct RequestTrace {
    pub(crate) id: Arc<str>,
    pub(crate) route: Route,
    stream: bool,
    pub(crate) received_at: Time,
    pub(crate) status: TraceStatus,
    /// The policy that decided last; of a request that is split, the one that chose where it decodes.
    policy: Option<PolicyNumber>,
    attempts: Vec<AttemptTrace>,
    error: Option<Box<str>>,
}

/// One attempt: the decision and, once it has ended, its result.
#[derive(Debug)]
struct AttemptTrace {
    number: u32,
    leg: Leg,
    url: Arc<str>,
    decided_at: Time,
    took_nanos: u32,
    reason: Reason,
    ties: u32,
    in_flight: u32,
    waiting: Option<u32>,
    scores: ScoreTable,
    shadows: Box<[ShadowChoice]>,
    end: Option<Box<AttemptEnd>>,
}

/// Costs and terms of all candidates: a table with a row per candidate. Term names are stored once.
#[derive(Debug)]
struct ScoreTable {
    urls: Box<[Arc<str>]>,
    names: Box<[&'static str]>,
    /// Rows of the cost and the terms in the order of `names`; NaN where a candidate lacks a term.
    values: Box<[f64]>,
}

/// The choice of one shadow policy.
#[derive(Debug)]
struct ShadowChoice {
    policy: Box<str>,
    url: Arc<str>,
    reason: Reason,
}

/// The result of one attempt.
#[derive(Debug)]
struct AttemptEnd {
    outcome: Outcome,
    status: Option<u16>,
    error: Option<&'static str>,
    finished_at: Time,
    first_byte_at: Option<Time>,
    prompt_tokens: Option<u32>,
    output_tokens: Option<u32>,
    cached_tokens: Option<u32>,
    queue_length: Option<u32>,
    forecast: Option<VerifiedForecast>,
    predicted_cached_tokens: Option<u32>,
}

impl RequestTrace {
    pub(crate) fn of_decision(d: &DecisionRecord) -> Self {
        Self {
            id: d.info.request_id.as_str().into(),
            route: d.info.route,
            stream: d.info.stream,
            received_at: d.info.received_at,
            status: TraceStatus::Routed,
            policy: Some(d.info.policy),
            attempts: Vec::with_capacity(1),
            error: None,
        }
    }

    pub(crate) fn of_error_response(r: &ErrorResponseRecord) -> Self {
        Self {
            id: r.request_id.as_str().into(),
            route: r.route,
            stream: false,
            received_at: r.received_at,
            status: TraceStatus::Failed,
            policy: None,
            attempts: Vec::new(),
            error: None,
        }
    }

    pub(crate) fn decided(&mut self, d: &DecisionRecord, names: &WorkerNames) {
        self.status = TraceStatus::Routed;
        if d.info.leg != Leg::Prefill || self.policy.is_none() {
            self.policy = Some(d.info.policy);
        }
        let shadow = |s: &router_core::ExplainedDecision| ShadowChoice {
            policy: s.policy.clone(),
            url: Arc::clone(names.name(s.decision.worker)),
            reason: s.decision.reason,
        };
        self.attempts.push(AttemptTrace {
            number: d.info.attempt,
            leg: d.info.leg,
            url: Arc::clone(names.name(d.decision.worker)),
            decided_at: d.at,
            took_nanos: u32::try_from(d.took.as_nanos()).unwrap_or(u32::MAX),
            reason: d.decision.reason,
            ties: d.decision.ties,
            in_flight: d.snapshot.in_flight,
            waiting: d.snapshot.waiting,
            scores: ScoreTable::from_record(d, names),
            shadows: d.shadows.iter().map(shadow).collect(),
            end: None,
        });
    }

    pub(crate) fn first_byte_received(&mut self) {
        if self.status == TraceStatus::Routed {
            self.status = TraceStatus::Processing;
        }
    }

    pub(crate) fn completed(&mut self, c: &CompletionRecord) {
        let (done, finish) = (&c.completion, &c.completion.result);
        // A prefill leg decides the state only if its response was forwarded: success is not yet a response, and a failure
        // may be retried.
        if c.info.leg != Leg::Prefill || c.forwarded {
            let is_complete = finish.outcome == Outcome::Success || c.is_ended_tunnel();
            self.status = if is_complete { TraceStatus::Completed } else { TraceStatus::Failed };
        }
        let end = AttemptEnd {
            outcome: finish.outcome,
            status: finish.status,
            error: c.error,
            finished_at: done.finished_at,
            first_byte_at: finish.first_byte_at,
            prompt_tokens: finish.usage.prompt_tokens,
            output_tokens: finish.usage.output_tokens,
            cached_tokens: finish.usage.cached_tokens,
            queue_length: finish.load.and_then(|l| l.waiting),
            forecast: done.forecast,
            predicted_cached_tokens: done.predicted_cached_tokens,
        };
        if let Some(attempt) = self.attempts.iter_mut().find(|a| a.number == c.info.attempt) {
            attempt.end = Some(Box::new(end));
        }
    }

    pub(crate) fn error_response(&mut self, r: &ErrorResponseRecord) {
        self.status = TraceStatus::Failed;
        self.error = Some(format!("{}: {}", r.error, r.message).into());
    }

    /// The worker of the last attempt.
    pub(crate) fn worker(&self) -> Option<&Arc<str>> {
        self.attempts.last().map(|a| &a.url)
    }

    /// Whether the request had an attempt on this worker.
    pub(crate) fn has_attempt_on(&self, url: &str) -> bool {
        self.attempts.iter().any(|a| &*a.url == url)
    }

    pub(crate) fn json(&self, policies: &PolicyNames, policy: &str, clock: &Clock) -> Value {
        let last = self.attempts.last();
        let end = last.and_then(|a| a.end.as_deref());
        let cached = end.and_then(|e| e.cached_tokens);
        json!({
            "request_id": &*self.id,
            "worker_url": last.map(|a| &*a.url),
            "node_id": last.map(|a| &*a.url),
            "timestamp": unix(clock, self.received_at),
            "routing_policy": self.policy.map_or_else(|| policy.into(), |number| policies.name(number)).to_string(),
            "status": self.status.as_str(),
            "route": self.route.as_str(),
            "stream": self.stream,
            "cache_hit": cached.map(|n| n > 0),
            "input_tokens": end.and_then(|e| e.prompt_tokens),
            "output_tokens": end.and_then(|e| e.output_tokens),
            "cached_tokens": cached,
            "completion_time": end.map(|e| unix(clock, e.finished_at)),
            "total_latency": end.map(|e| e.finished_at.secs_since(self.received_at)),
            "error_message": self.error.as_deref().or(end.and_then(|e| e.error)),
            "attempts": self.attempts.iter().map(|a| a.json(self.stream, clock)).collect::<Vec<_>>(),
        })
    }
}

impl AttemptTrace {
    fn json(&self, stream: bool, clock: &Clock) -> Value {
        let shadows = self
            .shadows
            .iter()
            .map(|s| json!({"policy": &*s.policy, "worker_url": &*s.url, "reason": s.reason.as_str()}));
        let end = self.end.as_deref().map(|e| {
            let ttft = e.first_byte_at.filter(|_| stream).map(|t| t.secs_since(self.decided_at));
            json!({
                "outcome": e.outcome.as_str(),
                "status": e.status,
                "error": e.error,
                "finished_at": unix(clock, e.finished_at),
                "server_latency": e.finished_at.secs_since(self.decided_at),
                "ttft": ttft,
                "prompt_tokens": e.prompt_tokens,
                "output_tokens": e.output_tokens,
                "cached_tokens": e.cached_tokens,
                "predicted_cached_tokens": e.predicted_cached_tokens,
                "queue_length": e.queue_length,
                "forecast_class": e.forecast.map(|f| f.class.as_str()),
                "forecast_output_tokens": e.forecast.map(|f| rounded(f.mean)),
                "forecast_rank": e.forecast.and_then(|f| f.rank).map(rounded),
            })
        });
        json!({
            "attempt": self.number,
            "leg": self.leg.as_str(),
            "worker_url": &*self.url,
            "decided_at": unix(clock, self.decided_at),
            "decision": {
                "reason": self.reason.as_str(),
                "ties": self.ties,
                "decision_time_ms": f64::from(self.took_nanos) * 1e-6,
                "in_flight": self.in_flight,
                "queue_length": self.waiting,
                "candidates": self.scores.json(),
                "shadows": shadows.collect::<Vec<_>>(),
            },
            "end": end,
        })
    }
}

impl ScoreTable {
    fn from_record(d: &DecisionRecord, workers: &WorkerNames) -> Self {
        let mut names: Vec<&'static str> = Vec::new();
        for term in d.scores.iter().flat_map(|s| s.terms.as_slice()) {
            if !names.contains(&term.name) {
                names.push(term.name);
            }
        }
        let values = |s: &CandidateScore| {
            let terms = names.iter().map(|name| s.terms.get(name).unwrap_or(f64::NAN));
            std::iter::once(s.cost).chain(terms).collect::<Vec<_>>()
        };
        Self {
            urls: d.scores.iter().map(|s| Arc::clone(workers.name(s.worker))).collect(),
            values: d.scores.iter().flat_map(values).collect(),
            names: names.into(),
        }
    }

    fn json(&self) -> Vec<Value> {
        let rows = self.values.chunks(self.names.len() + 1);
        let candidate = |(url, row): (&Arc<str>, &[f64])| {
            let terms = self.names.iter().zip(&row[1..]).filter(|(_, v)| v.is_finite());
            let terms: Map<_, _> = terms.map(|(name, v)| ((*name).to_owned(), json!(v))).collect();
            json!({"worker_url": &**url, "cost": row[0], "terms": terms})
        };
        self.urls.iter().zip(rows).map(candidate).collect()
    }
}

/// To three decimals.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e3).round() / 1e3
}

fn unix(clock: &Clock, time: Time) -> f64 {
    clock.unix(time).as_secs_f64()
}
