//! The summary of a run.

use super::quantiles::QuantileSummary;
use super::timeline::TimeAxis;
use crate::run::RecordedRun;
use serde::Serialize;

/// The summary of a run. Absent means that the file does not say.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunSummary {
    /// Finished requests, failed ones included.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Decisions; 0 for a client's file.
    pub decisions: u64,
    /// Seconds from the first request sent to the last byte received.
    pub duration: f64,
    /// Successful requests per second.
    pub requests_per_second: Option<f64>,
    /// Generated tokens per second.
    pub tokens_per_second: Option<f64>,
    /// Seconds from sending to the last byte.
    pub latency: Option<QuantileSummary>,
    /// Seconds from sending to the first token.
    pub ttft: Option<QuantileSummary>,
    /// Seconds per token after the first.
    pub tpot: Option<QuantileSummary>,
    /// Seconds in the worker's queue.
    pub queue_time: Option<QuantileSummary>,
    /// Milliseconds that a decision took.
    pub decision_ms: Option<QuantileSummary>,
    /// The largest share of all requests on one worker, from 0 to 1.
    pub busiest_share: Option<f64>,
}

impl RunSummary {
    pub(crate) fn of(run: &RecordedRun, axis: &TimeAxis, shares: impl Iterator<Item = f64>) -> Self {
        let served = || run.requests.iter().filter(|r| r.ok);
        let successes = served().count() as u64;
        let tokens: f64 = served().filter_map(|r| r.output_tokens).sum();
        let per_second = |n: f64| (axis.duration > 0.0 && n > 0.0).then(|| n / axis.duration);
        Self {
            requests: run.requests.len() as u64,
            failures: run.requests.len() as u64 - successes,
            decisions: run.decisions.len() as u64,
            duration: axis.duration,
            requests_per_second: per_second(successes as f64),
            tokens_per_second: per_second(tokens),
            latency: QuantileSummary::of(served().filter_map(|r| r.latency).collect()),
            ttft: QuantileSummary::of(served().filter_map(|r| r.ttft).collect()),
            tpot: QuantileSummary::of(served().filter_map(|r| r.tpot()).collect()),
            queue_time: QuantileSummary::of(served().filter_map(|r| r.queue_time).collect()),
            decision_ms: QuantileSummary::of(run.decisions.iter().filter_map(|c| c.took_ms).collect()),
            busiest_share: shares.reduce(f64::max).filter(|share| *share > 0.0),
        }
    }
}
