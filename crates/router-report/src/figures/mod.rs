//! What one run comes to: the figures that the page shows.
//!
//! Everything is brought down to a size that a page can carry: distributions to a few hundred quantiles, times to at
//! most 240 buckets, workers to the twelve busiest, decisions to an even sample.

mod choices;
mod spread;
mod summary;
mod timeline;
mod workers;

pub use spread::QuantileSummary;
pub(crate) use spread::fractions;
pub use summary::RunSummary;

use crate::run::{FileKind, RecordedRun};
use choices::{DecisionColumns, count_reasons};
use serde::Serialize;
use spread::curve;
use timeline::{LoadSeries, RateSeries, TimeAxis};
use workers::{WorkerFigures, WorkerGroups};

/// The distributions of one run, as values at fixed fractions; empty where nothing is known.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct QuantileCurves {
    latency: Vec<f64>,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
}

/// Where the number of waiting requests comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitingSource {
    /// The workers told it.
    Told,
    /// It was counted from the time that each request spent in the queue.
    Counted,
}

/// What one run comes to.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunFigures {
    /// The run's name.
    pub name: String,
    /// Who wrote its file.
    pub kind: FileKind,
    /// The policy, where the file tells.
    pub policy: Option<String>,
    /// The run in a few numbers.
    pub summary: RunSummary,
    /// Each worker, or group of workers.
    pub workers: Vec<WorkerFigures>,
    /// How often each reason was given, the most frequent first.
    pub reasons: Vec<(String, u64)>,
    pub(crate) curves: QuantileCurves,
    pub(crate) axis: TimeAxis,
    pub(crate) rates: RateSeries,
    pub(crate) load: LoadSeries,
    pub(crate) waiting: Option<WaitingSource>,
    pub(crate) choices: DecisionColumns,
}

impl RunFigures {
    /// The figures of `run`, with at most `decisions` of its decisions one by one.
    pub(crate) fn of(mut run: RecordedRun, decisions: usize) -> Self {
        let axis = TimeAxis::of(&run);
        let groups = WorkerGroups::of(&run);
        let waiting = if run.requests.iter().any(|r| r.queue_length.is_some()) {
            Some(WaitingSource::Told)
        } else if run.requests.iter().any(|r| r.queue_time.is_some()) {
            Some(WaitingSource::Counted)
        } else {
            None
        };
        let served = || run.requests.iter().filter(|r| r.ok);
        let curves = QuantileCurves {
            latency: curve(served().filter_map(|r| r.latency).collect()),
            ttft: curve(served().filter_map(|r| r.ttft).collect()),
            tpot: curve(served().filter_map(|r| r.tpot()).collect()),
        };
        let workers = workers::figures(&run, &groups, &axis, waiting);
        let rates = RateSeries::of(&run.requests, &axis);
        let load = LoadSeries::of(run.requests.iter(), &axis, waiting);
        let summary = RunSummary::of(&run, &axis, workers.iter().map(|w| w.share));
        let reasons = count_reasons(&run);
        let choices = DecisionColumns::of(&run, &groups, &axis, decisions);
        let name = std::mem::take(&mut run.name);
        let policy = run.policy.take();
        let kind = run.kind;
        Self { name, kind, policy, summary, workers, reasons, curves, axis, rates, load, waiting, choices }
    }
}

/// A number as a page needs it: four digits that mean something.
pub(crate) fn short(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}
