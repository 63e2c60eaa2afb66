//! Each worker's part in a run.

use super::WaitingSource;
use super::spread::{QuantileSummary, curve};
use super::timeline::{LoadSeries, RateSeries, TimeAxis};
use crate::run::{RecordedRequest, RecordedRun};
use serde::Serialize;

/// How many workers are shown one by one; a chart with more lines cannot be read.
const SHOWN: usize = 12;

/// One worker's part in a run, or that of all workers that are not shown one by one.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WorkerFigures {
    /// The worker's URL; "others" for the rest of a large fleet.
    pub name: String,
    /// How many workers these figures are about.
    pub count: usize,
    /// Requests that ended there.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Its share of all requests that some worker ended.
    pub share: f64,
    /// Generated tokens per second, over the whole run.
    pub tokens_per_second: f64,
    /// Seconds from sending to the last byte.
    pub latency: Option<QuantileSummary>,
    /// Seconds from sending to the first token.
    pub ttft: Option<QuantileSummary>,
    pub(crate) curve: Vec<f64>,
    pub(crate) rate: Vec<f64>,
    pub(crate) load: LoadSeries,
}

/// Which workers are shown one by one, by name, and which go together.
pub(crate) struct WorkerGroups {
    /// The group of each worker.
    of: Vec<usize>,
    /// Name and number of workers of each group.
    groups: Vec<(String, usize)>,
}

impl WorkerGroups {
    /// Each worker alone, or the busiest and the others.
    pub(crate) fn of(run: &RecordedRun) -> Self {
        let names = run.workers.as_slice();
        let mut busy = vec![0_u64; names.len()];
        let used = run.requests.iter().filter_map(|r| r.worker).chain(run.choices.iter().map(|c| c.worker));
        used.for_each(|worker| busy[worker as usize] += 1);
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|&a, &b| busy[b].cmp(&busy[a]).then_with(|| names[a].cmp(&names[b])));
        let alone = if names.len() > SHOWN { SHOWN - 1 } else { names.len() };
        let mut shown = order[..alone].to_vec();
        shown.sort_by(|&a, &b| names[a].cmp(&names[b]));
        let mut of = vec![alone; names.len()];
        shown.iter().enumerate().for_each(|(group, &worker)| of[worker] = group);
        let mut groups: Vec<_> = shown.iter().map(|&worker| (names[worker].clone(), 1)).collect();
        if names.len() > alone {
            groups.push(("others".to_owned(), names.len() - alone));
        }
        Self { of, groups }
    }

    /// The group of a worker.
    pub(crate) fn group(&self, worker: u32) -> usize {
        self.of[worker as usize]
    }
}

/// The figures of every group.
pub(crate) fn figures(
    run: &RecordedRun,
    groups: &WorkerGroups,
    axis: &TimeAxis,
    waiting: Option<WaitingSource>,
) -> Vec<WorkerFigures> {
    let mut requests: Vec<Vec<RecordedRequest>> = vec![Vec::new(); groups.groups.len()];
    for request in &run.requests {
        if let Some(worker) = request.worker {
            requests[groups.group(worker)].push(*request);
        }
    }
    let all: usize = requests.iter().map(Vec::len).sum();
    let parts = groups.groups.iter().zip(requests);
    parts.map(|(group, requests)| one(group, &requests, (all, axis, waiting))).collect()
}

fn one(
    (name, count): &(String, usize),
    requests: &[RecordedRequest],
    (all, axis, waiting): (usize, &TimeAxis, Option<WaitingSource>),
) -> WorkerFigures {
    let served = || requests.iter().filter(|r| r.ok);
    let latencies: Vec<f64> = served().filter_map(|r| r.latency).collect();
    let tokens: f64 = served().filter_map(|r| r.output_tokens).sum();
    WorkerFigures {
        name: name.clone(),
        count: *count,
        requests: requests.len() as u64,
        failures: (requests.len() - served().count()) as u64,
        share: requests.len() as f64 / all.max(1) as f64,
        tokens_per_second: if axis.duration > 0.0 { tokens / axis.duration } else { 0.0 },
        latency: QuantileSummary::of(latencies.clone()),
        ttft: QuantileSummary::of(served().filter_map(|r| r.ttft).collect()),
        curve: curve(latencies),
        rate: RateSeries::of(requests, axis).requests,
        load: LoadSeries::of(requests.iter(), axis, waiting),
    }
}
