//! The figures of one run that the page shows.
//!
//! All data is reduced to a size that fits a page: distributions to a few hundred quantiles, times to at most 240
//! buckets, workers to the twelve busiest, decisions to an even sample.

mod decisions;
mod faults;
mod forecasts;
mod quantiles;
mod rounding;
mod shadows;
mod summary;
mod timeline;
mod workers;

pub use faults::FaultFigures;
pub use quantiles::QuantileSummary;
pub(crate) use quantiles::{curve, fractions};
pub use shadows::{RatedChoices, ShadowFigures};
pub use summary::RunSummary;

use crate::run::{FileKind, RecordedRun};
use decisions::{DecisionColumns, count_reasons};
use forecasts::ForecastFigures;
use serde::Serialize;
use timeline::{LoadSeries, RateSeries, TimeAxis, WaitingSource};
use workers::{WorkerFigures, WorkerGroups};

/// The distributions of one run, as values at fixed fractions; empty if nothing is known.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(crate) struct QuantileCurves {
    latency: Vec<f64>,
    ttft: Vec<f64>,
    tpot: Vec<f64>,
}

/// The figures of one run.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunFigures {
    /// The run's name.
    pub name: String,
    /// Which program wrote its file.
    pub kind: FileKind,
    /// The policy, if the file says.
    pub policy: Option<String>,
    /// The summary.
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
    pub(crate) forecasts: ForecastFigures,
    /// What each shadow policy would have done.
    pub shadows: Vec<ShadowFigures>,
    /// Retries and failures, by kind.
    pub faults: Vec<FaultFigures>,
}

impl RunFigures {
    /// The figures of `run`, with a sample of at most `max_decisions` decisions.
    pub(crate) fn of(mut run: RecordedRun, max_decisions: usize) -> Self {
        let axis = TimeAxis::of(&run);
        let groups = WorkerGroups::of(&run);
        let waiting = if run.requests.iter().any(|r| r.queue_length.is_some()) {
            Some(WaitingSource::Reported)
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
        let choices = DecisionColumns::of(&run, &groups, &axis, max_decisions);
        let forecasts = ForecastFigures::of(&run);
        let shadows = shadows::figures(&run, &groups, &axis);
        let faults = faults::figures(&run, &axis);
        let name = std::mem::take(&mut run.name);
        let policy = run.policy.take();
        let kind = run.kind;
        Self {
            name,
            kind,
            policy,
            summary,
            workers,
            reasons,
            curves,
            axis,
            rates,
            load,
            waiting,
            choices,
            forecasts,
            shadows,
            faults,
        }
    }
}
