//! The totals of a load test as JSON.

use crate::histogram::TimeHistogram;
use crate::summary::{ClientSummary, LoadSummary};
use serde::Serialize;
use std::collections::BTreeMap;

/// The totals. An absent value was not measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SummaryReport {
    /// Requests in the plan.
    pub planned: usize,
    /// Requests sent.
    pub sent: u64,
    /// Requests with a complete response without an error.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Failures per kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// From the start to the last response, in seconds.
    pub duration_s: f64,
    /// Requests sent per second, up to the last one.
    pub sent_per_s: Option<f64>,
    /// Responses per second.
    pub answered_per_s: f64,
    /// From arrival to the last byte.
    pub e2e_s: Option<TimeQuantiles>,
    /// From arrival to the first event; streams only.
    pub ttft_s: Option<TimeQuantiles>,
    /// Time per output token after the first; streams only.
    pub tpot_s: Option<TimeQuantiles>,
    /// How much later than planned requests were sent; planned arrivals only.
    pub lateness_s: Option<TimeQuantiles>,
    /// Whether the sender was too late for valid measurements.
    pub late: bool,
    /// Prompt tokens, as far as reported.
    pub prompt_tokens: u64,
    /// Those of them that workers had in their caches, as far as reported.
    pub cached_tokens: u64,
    /// Generated tokens, as far as reported.
    pub output_tokens: u64,
    /// Generated tokens per second.
    pub output_tokens_per_s: f64,
    /// Responses per worker.
    pub workers: BTreeMap<String, u64>,
    /// The totals of each client, by name; left out if the load has none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, ClientReport>,
}

/// The totals of the requests of one client. An absent value was not measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ClientReport {
    /// Requests with a complete response without an error.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// From arrival to the last byte.
    pub e2e_s: Option<TimeQuantiles>,
    /// From arrival to the first event; streams only.
    pub ttft_s: Option<TimeQuantiles>,
    /// Generated tokens, as far as reported.
    pub output_tokens: u64,
}

impl ClientReport {
    fn of(client: &ClientSummary) -> Self {
        Self {
            answered: client.answered,
            failed: client.failed,
            e2e_s: TimeQuantiles::of(&client.latency),
            ttft_s: TimeQuantiles::of(&client.ttft),
            output_tokens: client.output_tokens,
        }
    }
}

/// A distribution of times, in seconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TimeQuantiles {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl TimeQuantiles {
    fn of(times: &TimeHistogram) -> Option<Self> {
        Some(Self {
            mean: times.mean()?,
            p50: times.at(50.0)?,
            p90: times.at(90.0)?,
            p99: times.at(99.0)?,
            max: times.max()?,
        })
    }
}

impl SummaryReport {
    /// The report of these totals.
    pub fn of(summary: &LoadSummary) -> Self {
        Self {
            planned: summary.planned,
            sent: summary.ended(),
            answered: summary.answered,
            failed: summary.failed,
            failures: summary.failures.iter().map(|(kind, (count, _))| (*kind, *count)).collect(),
            duration_s: summary.duration.as_secs_f64(),
            sent_per_s: summary.sent_per_second(),
            answered_per_s: summary.responses_per_second(),
            e2e_s: TimeQuantiles::of(&summary.latency),
            ttft_s: TimeQuantiles::of(&summary.ttft),
            tpot_s: TimeQuantiles::of(&summary.tpot),
            lateness_s: TimeQuantiles::of(&summary.lateness),
            late: summary.is_late(),
            prompt_tokens: summary.prompt_tokens,
            cached_tokens: summary.cached_tokens,
            output_tokens: summary.output_tokens,
            output_tokens_per_s: summary.tokens_per_second(),
            workers: summary.responses_by_worker.clone(),
            clients: summary
                .clients
                .iter()
                .map(|client| (client.name.clone(), ClientReport::of(client)))
                .collect(),
        }
    }
}
