//! What one run comes to: the figures that the page shows.
//!
//! Everything is brought down to a size that a page can carry: distributions to a few hundred quantiles, times to at
//! most 240 buckets, workers to the twelve busiest, decisions to an even sample.

mod choices;
mod spread;
mod summary;
mod timeline;
mod workers;

pub use spread::Spread;
pub(crate) use spread::fractions;
pub use summary::Summary;

use crate::run::{Kind, Run};
use choices::{Choices, count_reasons};
use serde::Serialize;
use spread::curve;
use timeline::{Axis, Load, Rates};
use workers::{Groups, WorkerFigures};

/// The distributions of one run, as values at fixed fractions; empty where nothing is known.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct Curves {
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
pub struct Figures {
    /// The run's name.
    pub name: String,
    /// Who wrote its file.
    pub kind: Kind,
    /// The policy, where the file tells.
    pub policy: Option<String>,
    /// The run in a few numbers.
    pub summary: Summary,
    /// Each worker, or group of workers.
    pub workers: Vec<WorkerFigures>,
    /// How often each reason was given, the most frequent first.
    pub reasons: Vec<(String, u64)>,
    pub(crate) curves: Curves,
    pub(crate) axis: Axis,
    pub(crate) rates: Rates,
    pub(crate) load: Load,
    pub(crate) waiting: Option<WaitingSource>,
    pub(crate) choices: Choices,
}

impl Figures {
    /// The figures of `run`, with at most `decisions` of its decisions one by one.
    pub(crate) fn of(mut run: Run, decisions: usize) -> Self {
        let axis = Axis::of(&run);
        let groups = Groups::of(&run);
        let waiting = if run.requests.iter().any(|r| r.queue_length.is_some()) {
            Some(WaitingSource::Told)
        } else if run.requests.iter().any(|r| r.queue_time.is_some()) {
            Some(WaitingSource::Counted)
        } else {
            None
        };
        let served = || run.requests.iter().filter(|r| r.ok);
        let curves = Curves {
            latency: curve(served().filter_map(|r| r.latency).collect()),
            ttft: curve(served().filter_map(|r| r.ttft).collect()),
            tpot: curve(served().filter_map(|r| r.tpot()).collect()),
        };
        let workers = workers::figures(&run, &groups, &axis, waiting);
        let rates = Rates::of(&run.requests, &axis);
        let load = Load::of(run.requests.iter(), &axis, waiting);
        let summary = Summary::of(&run, &axis, workers.iter().map(|w| w.share));
        let reasons = count_reasons(&run);
        let choices = Choices::of(&run, &groups, &axis, decisions);
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
