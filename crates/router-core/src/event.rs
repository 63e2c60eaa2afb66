//! The events from which policies learn.

use crate::{RequestFeatures, RequestId, Time, VerifiedForecast, WorkerId, WorkerInfo};
use std::time::Duration;

/// How one dispatch ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// A complete 2xx response arrived.
    Success,
    /// The worker rejected the request as invalid (a 4xx other than 429): the worker itself is fine.
    Rejected,
    /// The worker is overloaded (429, 503).
    Busy,
    /// The worker failed: connect error, timeout, 5xx, a truncated response.
    Failed,
    /// The client disconnected, or the router gave the attempt up. Also the end of a WebSocket, whose time says nothing about the
    /// worker.
    Cancelled,
}

impl Outcome {
    /// The name of the outcome in metrics, records and traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Rejected => "rejected",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Token counts as reported for one response. Absent means unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenUsage {
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: Option<u32>,
    /// Generated tokens.
    pub output_tokens: Option<u32>,
    /// Prompt tokens found in the worker's prefix cache.
    pub cached_tokens: Option<u32>,
    /// Whether `output_tokens` was counted from stream events because the worker did not report it.
    pub estimated: bool,
}

/// What the worker's own clock says about one response. Unix seconds unless said otherwise; absent means unknown.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ServerTiming {
    /// When the worker took the request in.
    pub created: Option<f64>,
    /// When the request entered the worker's queue.
    pub queue_start: Option<f64>,
    /// When the request left the worker's queue.
    pub queue_end: Option<f64>,
    /// When the worker had the first token.
    pub first_token: Option<f64>,
    /// Time spent in the worker's queue, in seconds.
    pub queue_time: Option<f64>,
    /// Time from arrival at the worker to the end, in seconds.
    pub e2e_latency: Option<f64>,
}

/// Source of a load report.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LoadSource {
    /// It came with a response (`meta_info`, `endpoint-load-metrics`).
    Piggyback,
    /// The router asked for it.
    Poll,
}

/// What a worker reported about its own load. Absent means not reported.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LoadReport {
    /// When the router learned it.
    pub at: Time,
    /// Where it came from.
    pub source: LoadSource,
    /// Requests waiting to be scheduled.
    pub waiting: Option<u32>,
    /// Requests running.
    pub running: Option<u32>,
    /// Tokens held or waiting: resident KV plus the prompts in the queue.
    pub tokens: Option<u64>,
    /// Prompt tokens in the queue that no cache holds.
    pub waiting_tokens: Option<u64>,
    /// Share of the KV cache in use, 0 to 1.
    pub kv_usage: Option<f64>,
    /// Generated tokens per second, achieved.
    pub gen_throughput: Option<f64>,
    /// What the worker did since it started, in sums; the difference of two gives its speed.
    pub work: WorkTotals,
}

/// Running sums of what a worker computed since it started. Absent means it does not keep them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WorkTotals {
    /// Uncached prompt tokens computed.
    pub prefill_tokens: Option<u64>,
    /// Microseconds spent in prefill.
    pub prefill_busy_us: Option<u64>,
    /// Sums over the decode steps: 1, the requests n, the time t in microseconds, n squared, n t, the tokens; as
    /// `decode_moments` of SGLang.
    pub decode: Option<[f64; 6]>,
}

impl WorkTotals {
    /// Nothing known.
    pub const NONE: Self = Self { prefill_tokens: None, prefill_busy_us: None, decode: None };
}

impl LoadReport {
    /// A report without any values yet.
    pub const fn empty(at: Time, source: LoadSource) -> Self {
        Self {
            at,
            source,
            waiting: None,
            running: None,
            tokens: None,
            waiting_tokens: None,
            kv_usage: None,
            gen_throughput: None,
            work: WorkTotals::NONE,
        }
    }
}

/// What the host knows at the end of one dispatch; the balancer adds the rest.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AttemptResult {
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the worker's response, absent when there was none.
    pub status: Option<u16>,
    /// When the first byte of the response's body arrived.
    pub first_byte_at: Option<Time>,
    /// Token counts.
    pub usage: TokenUsage,
    /// The worker's own time stamps.
    pub timing: ServerTiming,
    /// The load report that came with the response.
    pub load: Option<LoadReport>,
}

impl AttemptResult {
    /// A result of which only the outcome is known.
    pub const fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            status: None,
            first_byte_at: None,
            usage: TokenUsage {
                prompt_tokens: None,
                output_tokens: None,
                cached_tokens: None,
                estimated: false,
            },
            timing: ServerTiming {
                created: None,
                queue_start: None,
                queue_end: None,
                first_token: None,
                queue_time: None,
                e2e_latency: None,
            },
            load: None,
        }
    }
}

/// One finished dispatch. Each ticket yields exactly one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Completion {
    /// The worker it ran on.
    pub worker: WorkerId,
    /// The request.
    pub request: RequestId,
    /// Which attempt of the request, from zero.
    pub attempt: u32,
    /// Sequence number among the balancer's decisions and completions, from one; see [`DispatchSnapshot`](crate::DispatchSnapshot).
    pub seq: u64,
    /// When the request came in, when known.
    pub arrived_at: Option<Time>,
    /// When it was sent to the worker.
    pub dispatched_at: Time,
    /// When its last byte came, or it was given up.
    pub finished_at: Time,
    /// The most tokens that its response can have; see [`RequestFeatures::most_output_tokens`].
    pub most_output_tokens: u32,
    /// Everything else.
    pub result: AttemptResult,
    /// What was expected of the length of the output, if that was forecast.
    pub forecast: Option<VerifiedForecast>,
    /// [What the policy predicted](crate::Decision::predicted_cached_tokens) when it chose the worker.
    pub predicted_cached_tokens: Option<u32>,
}

impl Completion {
    /// Seconds from sending to the last byte, by the router's monotonic clock.
    pub fn server_latency(&self) -> f64 {
        self.finished_at.secs_since(self.dispatched_at)
    }

    /// Seconds from the request in to the last byte, earlier attempts included.
    pub fn total_latency(&self) -> Option<f64> {
        self.arrived_at.map(|t| self.finished_at.secs_since(t))
    }

    /// Generated tokens, as far as the worker's number can be true: nothing is learned from an impossible one.
    pub fn output_tokens(&self) -> Option<u32> {
        self.result.usage.output_tokens.filter(|tokens| *tokens <= self.most_output_tokens)
    }

    /// Seconds in the worker's queue, as it reports them or as the difference of its two time stamps.
    pub fn queue_time(&self) -> Option<f64> {
        let timing = &self.result.timing;
        timing.queue_time.or_else(|| Some(timing.queue_end? - timing.queue_start?))
    }

    /// Prompt tokens in the worker's cache, as predicted and as reported; absent unless both are known of a complete response.
    pub fn cached_tokens(&self) -> Option<(u32, u32)> {
        let is_complete = self.result.outcome == Outcome::Success;
        self.predicted_cached_tokens.zip(self.result.usage.cached_tokens).filter(|_| is_complete)
    }

    /// Seconds from sending to the first byte, if one came.
    pub fn ttft(&self) -> Option<f64> {
        self.result.first_byte_at.map(|t| t.secs_since(self.dispatched_at))
    }
}

/// How often a host tells how far a stream is ([`Event::Progress`]).
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Everything a policy can learn from, in one stream and one order.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A worker is part of the fleet from now on.
    Joined {
        /// The worker.
        worker: WorkerId,
        /// What is known about it.
        info: &'a WorkerInfo,
    },
    /// What is known about a worker, such as its weight, has changed.
    Changed {
        /// The worker.
        worker: WorkerId,
        /// What is known about it now.
        info: &'a WorkerInfo,
    },
    /// A worker is no longer part of the fleet; its id never comes back.
    Left(WorkerId),
    /// The prefix cache of a worker was emptied: on request, with new weights, or because it was started anew.
    CacheEmptied(WorkerId),
    /// A request was sent to a worker.
    Dispatched {
        /// The worker.
        worker: WorkerId,
        /// The request.
        request: &'a RequestFeatures<'a>,
    },
    /// The first byte of a streamed response arrived.
    FirstToken {
        /// The worker.
        worker: WorkerId,
        /// The request.
        request: RequestId,
    },
    /// More of a streamed response arrived; told every [`PROGRESS_INTERVAL`] to policies that [need](crate::PolicyNeeds::progress) it.
    Progress {
        /// The worker.
        worker: WorkerId,
        /// The request.
        request: RequestId,
        /// Events of the stream so far, about as many as tokens.
        events: u32,
    },
    /// A dispatch ended.
    Finished(&'a Completion),
    /// A worker reported its load.
    Load {
        /// The worker.
        worker: WorkerId,
        /// The report.
        report: &'a LoadReport,
    },
}
