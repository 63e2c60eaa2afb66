//! The figures of each worker.

use super::quantiles::{QuantileSummary, curve};
use super::timeline::{LoadSeries, RateSeries, TimeAxis, WaitingSource};
use crate::run::{RecordedRequest, RecordedRun};
use serde::Serialize;

/// How many workers are shown individually; a chart with more lines is hard to read.
const MAX_SHOWN: usize = 12;

/// The figures of one worker, or of all workers that are not shown individually.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WorkerFigures {
    /// The worker's URL; "others" for the rest of a large fleet.
    pub name: String,
    /// How many workers these figures cover.
    pub count: usize,
    /// Finished requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// Its share of all requests with a known worker, from 0 to 1.
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

/// Which workers are shown individually, sorted by name, and which are grouped.
pub(crate) struct WorkerGroups {
    /// The group of each worker.
    group_of: Vec<usize>,
    groups: Vec<WorkerGroup>,
}

#[derive(Debug)]
struct WorkerGroup {
    name: String,
    /// How many workers are in it.
    count: usize,
}

impl WorkerGroups {
    /// Each worker individually, or the busiest and one group of the others.
    pub(crate) fn of(run: &RecordedRun) -> Self {
        let names = run.workers.as_slice();
        let mut busy = vec![0_u64; names.len()];
        let used = run.requests.iter().filter_map(|r| r.worker).chain(run.decisions.iter().map(|c| c.worker));
        used.for_each(|worker| busy[worker as usize] += 1);
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|&a, &b| busy[b].cmp(&busy[a]).then_with(|| names[a].cmp(&names[b])));
        let alone = if names.len() > MAX_SHOWN { MAX_SHOWN - 1 } else { names.len() };
        let mut shown = order[..alone].to_vec();
        shown.sort_by(|&a, &b| names[a].cmp(&names[b]));
        let mut group_of = vec![alone; names.len()];
        shown.iter().enumerate().for_each(|(group, &worker)| group_of[worker] = group);
        let mut groups: Vec<_> =
            shown.iter().map(|&worker| WorkerGroup { name: names[worker].clone(), count: 1 }).collect();
        if names.len() > alone {
            groups.push(WorkerGroup { name: "others".to_owned(), count: names.len() - alone });
        }
        Self { group_of, groups }
    }

    /// How many groups there are.
    pub(crate) const fn len(&self) -> usize {
        self.groups.len()
    }

    /// The group of a worker.
    pub(crate) fn group(&self, worker: u32) -> usize {
        self.group_of[worker as usize]
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
    parts.map(|(group, requests)| group_figures(group, &requests, all, axis, waiting)).collect()
}

fn group_figures(
    group: &WorkerGroup,
    requests: &[RecordedRequest],
    all_requests: usize,
    axis: &TimeAxis,
    waiting: Option<WaitingSource>,
) -> WorkerFigures {
    let served = || requests.iter().filter(|r| r.ok);
    let latencies: Vec<f64> = served().filter_map(|r| r.latency).collect();
    let tokens: f64 = served().filter_map(|r| r.output_tokens).sum();
    WorkerFigures {
        name: group.name.clone(),
        count: group.count,
        requests: requests.len() as u64,
        failures: (requests.len() - served().count()) as u64,
        share: requests.len() as f64 / all_requests.max(1) as f64,
        tokens_per_second: if axis.duration > 0.0 { tokens / axis.duration } else { 0.0 },
        latency: QuantileSummary::of(latencies.clone()),
        ttft: QuantileSummary::of(served().filter_map(|r| r.ttft).collect()),
        curve: curve(latencies),
        rate: RateSeries::of(requests, axis).requests,
        load: LoadSeries::of(requests.iter(), axis, waiting),
    }
}
