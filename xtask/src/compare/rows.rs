//! From the rows that `sgl-router send` writes to the figures of a run.

use crate::harness::stats::quantile;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What is read of a row. An empty field is `None`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
struct Row {
    success: String,
    error: String,
    arrival_time: f64,
    router_send_time: f64,
    total_latency: Option<f64>,
    ttft: Option<f64>,
    actual_output_tokens: Option<f64>,
}

/// A quantity that contenders are compared by; less is better for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Figure {
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

/// Figures of one run, in seconds, over the answers to requests that arrived after the warm-up.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Requests that arrived after the warm-up.
    pub(crate) requests: usize,
    /// Those of them that failed.
    pub(crate) failed: usize,
    /// What the first failure said.
    pub(crate) failure: Option<String>,
    mean: f64,
    p50: f64,
    p99: f64,
    first_mean: Option<f64>,
    first_p99: Option<f64>,
    per_token: Option<f64>,
    /// 99th percentile of how late the sender was.
    pub(crate) lateness_p99: f64,
    /// Mean latency of what arrived in each stretch of [`STRETCH`] seconds, from the start of the load.
    pub(crate) course: Vec<Option<f64>>,
}

/// Seconds of one point of a course.
pub(crate) const STRETCH: f64 = 5.0;

impl Figures {
    /// Reads the rows of a run, the warm-up's left out.
    ///
    /// # Errors
    /// The file is not what `send` writes, or nothing in it was answered.
    pub(crate) fn read(file: &Path, warm_up: f64) -> Result<Self> {
        let read = || csv::Reader::from_path(file)?.into_deserialize().collect::<Result<Vec<Row>, _>>();
        let rows = read().with_context(|| format!("cannot read {}", file.display()))?;
        Self::of(&rows, warm_up).with_context(|| format!("no answer in {}", file.display()))
    }

    fn of(rows: &[Row], warm_up: f64) -> Option<Self> {
        let counted: Vec<&Row> = rows.iter().filter(|row| row.arrival_time >= warm_up).collect();
        let failed: Vec<&&Row> = counted.iter().filter(|row| row.success != "True").collect();
        let latency = sorted(counted.iter().filter_map(|row| row.total_latency));
        let first = sorted(counted.iter().filter_map(|row| row.ttft));
        let late = sorted(counted.iter().map(|row| row.router_send_time - row.arrival_time));
        let per_token = |row: &&Row| {
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

    /// One of them, in seconds; `None` where nothing of the kind was measured.
    pub(crate) fn get(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Mean => Some(self.mean),
            Figure::P50 => Some(self.p50),
            Figure::P99 => Some(self.p99),
            Figure::FirstMean => self.first_mean,
            Figure::FirstP99 => self.first_p99,
            Figure::PerToken => self.per_token,
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

#[allow(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 requests")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn course(rows: &[Row]) -> Vec<Option<f64>> {
    let last = rows.iter().map(|row| row.arrival_time).fold(0.0, f64::max);
    let mut course = Vec::new();
    let mut from = 0.0;
    while from <= last {
        let within = |row: &&Row| (from..from + STRETCH).contains(&row.arrival_time);
        let latencies: Vec<f64> = rows.iter().filter(within).filter_map(|row| row.total_latency).collect();
        course.push(mean(&latencies));
        from += STRETCH;
    }
    course
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(arrival_time: f64, latency: Option<f64>) -> Row {
        Row {
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
    fn the_warm_up_and_failures_are_no_part_of_the_latencies() {
        let rows = [row(0.0, Some(9.0)), row(5.0, Some(1.0)), row(6.0, None), row(11.0, Some(3.0))];
        let figures = Figures::of(&rows, 5.0).unwrap();
        assert_eq!((figures.requests, figures.failed), (3, 1));
        assert_eq!(figures.failure.as_deref(), Some("HTTP 500: x"));
        assert_eq!(figures.get(Figure::Mean), Some(2.0));
        assert_eq!(figures.get(Figure::P99), Some(3.0));
        assert_eq!(figures.get(Figure::FirstP99), Some(1.5));
        assert!((figures.get(Figure::PerToken).unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(figures.course, [Some(9.0), Some(1.0), Some(3.0)]);
        assert_eq!(Figures::of(&rows, 20.0), None);
    }
}
