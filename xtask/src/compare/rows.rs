//! Latencies and failures of one run, from the rows that `sgl-router send` writes.

use crate::harness::stats::{quantile, sorted};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One request, as far as it is read. An empty field is `None`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
struct RequestRow {
    success: String,
    error: String,
    arrival_time: f64,
    router_send_time: f64,
    total_latency: Option<f64>,
    ttft: Option<f64>,
    actual_output_tokens: Option<f64>,
}

/// A latency that contenders are compared by; lower is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LatencyFigure {
    /// Mean time from arrival to the last byte.
    Mean,
    /// Its median.
    P50,
    /// Its 99th percentile.
    P99,
    /// Mean time from arrival to the first token.
    FirstMean,
    /// Its 99th percentile.
    FirstP99,
    /// Mean time for each further token.
    PerToken,
}

/// Results of one run, in seconds, over the requests that arrived after the warm-up.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct RunFigures {
    /// Requests that arrived after the warm-up.
    pub(crate) requests: usize,
    /// Requests of these that failed.
    pub(crate) failed: usize,
    /// The error of the first failure.
    pub(crate) failure: Option<String>,
    mean: f64,
    p50: f64,
    p99: f64,
    first_mean: Option<f64>,
    first_p99: Option<f64>,
    per_token: Option<f64>,
    /// 99th percentile of how late the sender was.
    pub(crate) lateness_p99: f64,
    /// Mean latency by time of arrival, in intervals of [`COURSE_INTERVAL`] seconds from the start of the load.
    pub(crate) course: Vec<Option<f64>>,
}

/// Seconds of one point of a course.
pub(crate) const COURSE_INTERVAL: f64 = 5.0;

impl RunFigures {
    /// Reads the rows of a run and leaves out those of the warm-up.
    ///
    /// # Errors
    /// The file has another format, or no request of it succeeded.
    pub(crate) fn read(file: &Path, warm_up: f64) -> Result<Self> {
        let read =
            || csv::Reader::from_path(file)?.into_deserialize().collect::<Result<Vec<RequestRow>, _>>();
        let rows = read().with_context(|| format!("cannot read {}", file.display()))?;
        Self::of(&rows, warm_up).with_context(|| format!("no response in {}", file.display()))
    }

    fn of(rows: &[RequestRow], warm_up: f64) -> Option<Self> {
        let counted: Vec<&RequestRow> = rows.iter().filter(|row| row.arrival_time >= warm_up).collect();
        let failed: Vec<&&RequestRow> = counted.iter().filter(|row| row.success != "True").collect();
        let latency = sorted(counted.iter().filter_map(|row| row.total_latency));
        let first = sorted(counted.iter().filter_map(|row| row.ttft));
        let late = sorted(counted.iter().map(|row| row.router_send_time - row.arrival_time));
        let per_token = |row: &&RequestRow| {
            let further = row.actual_output_tokens.filter(|tokens| *tokens > 1.0)? - 1.0;
            Some((row.total_latency? - row.ttft?) / further)
        };
        Some(Self {
            requests: counted.len(),
            failed: failed.len(),
            failure: failed.first().map(|row| row.error.clone()),
            mean: mean(&latency)?,
            p50: quantile(&latency, 0.5)?,
            p99: quantile(&latency, 0.99)?,
            first_mean: mean(&first),
            first_p99: quantile(&first, 0.99),
            per_token: mean(&sorted(counted.iter().filter_map(per_token))),
            lateness_p99: quantile(&late, 0.99)?,
            course: course(rows),
        })
    }

    /// One figure in seconds; `None` where there was no sample.
    pub(crate) fn get(&self, figure: LatencyFigure) -> Option<f64> {
        match figure {
            LatencyFigure::Mean => Some(self.mean),
            LatencyFigure::P50 => Some(self.p50),
            LatencyFigure::P99 => Some(self.p99),
            LatencyFigure::FirstMean => self.first_mean,
            LatencyFigure::FirstP99 => self.first_p99,
            LatencyFigure::PerToken => self.per_token,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 requests")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn course(rows: &[RequestRow]) -> Vec<Option<f64>> {
    let last = rows.iter().map(|row| row.arrival_time).fold(0.0, f64::max);
    let mut course = Vec::new();
    let mut from = 0.0;
    while from <= last {
        let within = |row: &&RequestRow| (from..from + COURSE_INTERVAL).contains(&row.arrival_time);
        let latencies: Vec<f64> = rows.iter().filter(within).filter_map(|row| row.total_latency).collect();
        course.push(mean(&latencies));
        from += COURSE_INTERVAL;
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(arrival_time: f64, latency: Option<f64>) -> RequestRow {
        RequestRow {
            success: if latency.is_some() { "True" } else { "False" }.to_owned(),
            error: if latency.is_some() { "" } else { "HTTP 500: x" }.to_owned(),
            arrival_time,
            router_send_time: arrival_time + 0.001,
            total_latency: latency,
            ttft: latency.map(|latency| latency / 2.0),
            actual_output_tokens: latency.map(|_| 11.0),
        }
    }

    #[test]
    fn warm_up_and_failures_are_left_out() {
        let rows = [row(0.0, Some(9.0)), row(5.0, Some(1.0)), row(6.0, None), row(11.0, Some(3.0))];
        let figures = RunFigures::of(&rows, 5.0).unwrap();
        assert_eq!((figures.requests, figures.failed), (3, 1));
        assert_eq!(figures.failure.as_deref(), Some("HTTP 500: x"));
        assert_eq!(figures.get(LatencyFigure::Mean), Some(2.0));
        assert_eq!(figures.get(LatencyFigure::P99), Some(3.0));
        assert_eq!(figures.get(LatencyFigure::FirstP99), Some(1.5));
        assert!((figures.get(LatencyFigure::PerToken).unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(figures.course, [Some(9.0), Some(1.0), Some(3.0)]);
        assert_eq!(RunFigures::of(&rows, 20.0), None);
    }
}
