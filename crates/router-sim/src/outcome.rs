//! The outcome of a run: one record per request, and a summary of them.

use crate::workload::Workload;
use router_core::{ResponseTimes, Slo, Time};
use std::collections::HashMap;

/// The times and counts of one request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SimulatedRecord {
    /// When it arrived.
    pub arrived_at: Time,
    /// When its first token was generated; absent if none was.
    pub first_token_at: Option<Time>,
    /// When its last token was generated; absent if it failed.
    pub finished_at: Option<Time>,
    /// Index of the server of the last attempt.
    pub server: u32,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Prompt tokens found in the server's prefix cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How many times it was sent to a server.
    pub attempts: u32,
}

impl SimulatedRecord {
    /// Seconds from arrival to the last token.
    pub fn e2e(&self) -> Option<f64> {
        Some(self.finished_at?.secs_since(self.arrived_at))
    }

    /// Seconds from arrival to the first token.
    pub fn ttft(&self) -> Option<f64> {
        self.finished_at?;
        Some(self.first_token_at?.secs_since(self.arrived_at))
    }

    /// Whether it completed within both limits.
    pub fn meets(&self, slo: Slo) -> bool {
        let times = |total| ResponseTimes { first_token: self.ttft(), total, tokens: self.output_tokens };
        self.e2e().is_some_and(|total| slo.is_met(times(total)))
    }

    /// Seconds per token after the first; absent for responses of one token.
    pub fn tpot(&self) -> Option<f64> {
        let tokens = self.output_tokens.checked_sub(1).filter(|n| *n > 0)?;
        Some(self.finished_at?.secs_since(self.first_token_at?) / f64::from(tokens))
    }
}

/// Mean and percentiles of a latency, in seconds; all zero without samples. A percentile is a value that occurred.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LatencySummary {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl LatencySummary {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = |share: f64| router_core::quantile(&sorted, share).unwrap_or(0.0);
        let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
        Self { mean, p50: rank(0.5), p90: rank(0.9), p99: rank(0.99) }
    }
}

/// The outcome of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct SimulationOutcome {
    /// One record per request, in the order of the workload. `None` for a turn that never arrived because an earlier turn
    /// of its conversation failed.
    pub records: Vec<Option<SimulatedRecord>>,
    /// Seconds that each server was busy.
    pub busy: Vec<f64>,
    /// What the servers cost.
    pub workers: WorkerUse,
}

/// How many servers a run used, and for how long: from when they were ordered until they were gone.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WorkerUse {
    /// Seconds of all servers together.
    pub secs: f64,
    /// Most at one time.
    pub most: usize,
    /// How many an autoscaler ordered.
    pub started: usize,
}

/// The summary of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct SimulationSummary {
    /// Requests with a complete response.
    pub completed: usize,
    /// Requests without one.
    pub failed: usize,
    /// Time from arrival to the last token.
    pub e2e: LatencySummary,
    /// Time from arrival to the first token.
    pub ttft: LatencySummary,
    /// Time per token after the first.
    pub tpot: LatencySummary,
    /// Requests per second that were completed within the SLO.
    pub goodput: f64,
    /// Share of the requests that each server completed, from 0 to 1.
    pub share: Vec<f64>,
    /// Share of the prompt tokens that were found in a prefix cache, from 0 to 1.
    pub prefix_hits: f64,
    /// Busy time of the busiest server divided by the mean busy time; 1 is balanced.
    pub imbalance: f64,
}

impl SimulationOutcome {
    /// The summary, with the default SLO.
    pub fn summary(&self) -> SimulationSummary {
        self.summary_under(Slo::default())
    }

    /// The outcome of each client of `load`, in its order, with the records of this client alone.
    pub(crate) fn by_client(&self, load: &Workload) -> Vec<Self> {
        let places: HashMap<u64, usize> =
            load.clients.iter().enumerate().map(|(place, client)| (client.key, place)).collect();
        let empty = Self { records: Vec::new(), busy: self.busy.clone(), workers: self.workers };
        let mut outcomes = vec![empty; load.clients.len()];
        for (request, record) in load.requests.iter().zip(&self.records) {
            if let Some(place) = request.client.and_then(|key| places.get(&key)) {
                outcomes[*place].records.push(*record);
            }
        }
        outcomes
    }

    /// The share of the requests that missed this SLO or failed, from 0 to 1.
    pub fn miss_share(&self, slo: Slo) -> f64 {
        let all = self.records.iter().flatten();
        let met = all.clone().filter(|record| record.meets(slo)).count();
        1.0 - met as f64 / all.count().max(1) as f64
    }

    /// The summary, with goodput under this SLO.
    pub fn summary_under(&self, slo: Slo) -> SimulationSummary {
        let all = || self.records.iter().flatten();
        let done: Vec<&SimulatedRecord> = all().filter(|r| r.finished_at.is_some()).collect();
        let good = done.iter().filter(|r| r.meets(slo));
        let first = all().map(|r| r.arrived_at).min().unwrap_or_default();
        let span = done.iter().filter_map(|r| r.finished_at).max().unwrap_or(first).secs_since(first);
        let total = |of: fn(&SimulatedRecord) -> u32| done.iter().map(|r| f64::from(of(r))).sum::<f64>();
        let mut share = vec![0.0; self.busy.len()];
        for record in &done {
            share[record.server as usize] += 1.0 / done.len() as f64;
        }
        let mean_busy = self.busy.iter().sum::<f64>() / self.busy.len().max(1) as f64;
        let most_busy = self.busy.iter().copied().fold(0.0, f64::max);
        SimulationSummary {
            completed: done.len(),
            failed: all().count() - done.len(),
            e2e: LatencySummary::of(done.iter().filter_map(|r| r.e2e())),
            ttft: LatencySummary::of(done.iter().filter_map(|r| r.ttft())),
            tpot: LatencySummary::of(done.iter().filter_map(|r| r.tpot())),
            goodput: if span > 0.0 { good.count() as f64 / span } else { 0.0 },
            share,
            prefix_hits: total(|r| r.cached_tokens) / total(|r| r.prompt_tokens).max(1.0),
            imbalance: if mean_busy > 0.0 { most_busy / mean_busy } else { 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_observed_values() {
        let l = LatencySummary::of((1..=200).map(f64::from));
        assert_eq!((l.mean, l.p50, l.p90, l.p99), (100.5, 100.0, 180.0, 198.0));
        assert_eq!(LatencySummary::of(std::iter::empty()), LatencySummary::default());
    }

    #[test]
    fn goodput_needs_ttft_and_tpot() {
        let at = |secs: f64| Some(Time::from_secs_f64(secs));
        let record = |first, end, output_tokens| {
            Some(SimulatedRecord {
                arrived_at: Time::ZERO,
                first_token_at: at(first),
                finished_at: at(end),
                server: 0,
                prompt_tokens: 10,
                cached_tokens: 5,
                output_tokens,
                attempts: 1,
            })
        };
        let records =
            vec![record(0.5, 1.0, 101), record(1.5, 2.0, 101), record(0.5, 2.0, 11), record(0.5, 0.5, 1)];
        let summary =
            SimulationOutcome { records, busy: vec![1.0, 3.0], workers: WorkerUse::default() }.summary();
        assert_eq!(summary.goodput, 2.0 / 2.0);
        assert_eq!((summary.prefix_hits, summary.imbalance), (0.5, 1.5));
        assert_eq!(summary.share, [1.0, 0.0]);
    }
}
