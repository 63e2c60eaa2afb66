//! A run beside the first one of its kind: differences with intervals, and what makes the two not comparable.
//!
//! Requests of the same load are paired by the number in their ids, so that the difference of two runs is not hidden by
//! the differences between requests. Runs that do not pair are compared as two samples.

mod bootstrap;
mod comparability;
mod pairs;
mod statistic;

use crate::figures::{RunFigures, curve};
use crate::run::{RecordedRequest, RecordedRun};
use bootstrap::{Resampling, Series};
use pairs::{ComparedRun, Pairing};
use serde::Serialize;
use statistic::{STATISTICS, Statistic};

pub use bootstrap::Interval;
pub use pairs::PairingMethod;

/// Requests that a comparison needs for an interval.
const MIN_FOR_INTERVAL: usize = 20;
/// Requests that a comparison needs for a 99 % quantile: with fewer it is one of the three largest.
const MIN_FOR_P99: usize = 300;

/// One metric of two runs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ComparedMeasure {
    /// Its name as the page shows it.
    pub name: String,
    /// The value of the first run, in seconds.
    pub base: f64,
    /// The value of the other run, in seconds.
    pub value: f64,
    /// The 95 % interval of the difference, in seconds; absent where there are too few requests.
    pub difference: Option<Interval>,
    /// The 95 % interval of the ratio; absent where there are too few requests, or the first run has 0.
    pub ratio: Option<Interval>,
}

/// A run beside the first one of its kind.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct RunComparison {
    /// The index of the first run.
    pub base: usize,
    /// The index of the other run.
    pub run: usize,
    /// How requests stand to each other.
    pub method: PairingMethod,
    /// Why requests were not paired; empty if they were.
    pub why_separate: String,
    /// Pairs, or requests of the smaller run.
    pub requests: u64,
    /// Requests that did not succeed in both runs; 0 for separate runs.
    pub left_out: u64,
    /// Neighbouring requests that are drawn together.
    pub block: u64,
    /// How often requests were drawn again.
    pub resamples: u64,
    /// The metrics.
    pub measures: Vec<ComparedMeasure>,
    /// Quantiles of the difference in latency, request by request, in seconds; empty for separate runs.
    pub(crate) differences: Vec<f64>,
    /// What makes the two runs not comparable, one sentence each.
    pub warnings: Vec<String>,
}

impl RunComparison {
    /// A warning with the names of the two runs in front: `a and b: ...`.
    pub fn titled(&self, runs: &[RunFigures], warning: &str) -> String {
        let name = |at: usize| runs.get(at).map_or("", |run| run.name.as_str());
        format!("{} and {}: {warning}", name(self.base), name(self.run))
    }
}

/// How a metric is taken from a request.
type MeasureOf = fn(&RecordedRequest) -> Option<f64>;

/// The metrics of a request.
const MEASURES: [(&str, MeasureOf); 3] =
    [("Latency", |r| r.latency), ("First token", |r| r.ttft), ("Per token", RecordedRequest::tpot)];

/// Compares every run with the first of its kind.
pub(crate) fn compare_runs(runs: &[RecordedRun]) -> Vec<RunComparison> {
    let later = runs.iter().enumerate().filter_map(|(at, run)| {
        let base = runs[..at].iter().position(|first| first.kind == run.kind)?;
        Some((base, at))
    });
    later.map(|(base, run)| compare(runs, base, run)).collect()
}

fn compare(runs: &[RecordedRun], base: usize, run: usize) -> RunComparison {
    let (first, other) = (ComparedRun::of(&runs[base]), ComparedRun::of(&runs[run]));
    let pairing = Pairing::of(&first.requests, &other.requests);
    let (a, b) = match &pairing {
        Pairing::Paired { pairs, .. } => (
            pairs.iter().map(|(a, _)| *a).collect::<Vec<&RecordedRequest>>(),
            pairs.iter().map(|(_, b)| *b).collect::<Vec<&RecordedRequest>>(),
        ),
        Pairing::Separate { .. } => (served(&first.requests), served(&other.requests)),
    };
    let method = pairing.method();
    let resampling = Resampling::of(&a, &b, method);
    let mut measures = Vec::new();
    for (name, of) in MEASURES {
        measures.extend(measured(name, &values(&a, of), &values(&b, of), &resampling));
    }
    let differences = match method {
        PairingMethod::Paired => {
            a.iter().zip(&b).filter_map(|(a, b)| Some(b.latency? - a.latency?)).collect()
        }
        PairingMethod::Separate => Vec::new(),
    };
    RunComparison {
        base,
        run,
        method,
        why_separate: pairing.why_separate(),
        requests: a.len().min(b.len()) as u64,
        left_out: pairing.left_out(),
        block: resampling.block as u64,
        resamples: resampling.resamples as u64,
        measures,
        differences: curve(differences),
        warnings: comparability::warnings(&first, &other),
    }
}

/// The requests that succeeded, in the order in which they were sent.
fn served(requests: &[RecordedRequest]) -> Vec<&RecordedRequest> {
    requests.iter().filter(|request| request.ok).collect()
}

fn values(requests: &[&RecordedRequest], of: MeasureOf) -> Vec<Option<f64>> {
    requests.iter().map(|request| of(request)).collect()
}

/// Mean and quantiles of one metric.
fn measured(
    name: &str,
    a: &[Option<f64>],
    b: &[Option<f64>],
    resampling: &Resampling,
) -> Vec<ComparedMeasure> {
    let (a, b) = match resampling.method {
        // A pair counts only if both have a value.
        PairingMethod::Paired => {
            let both = |a: &Option<f64>, b: &Option<f64>| a.is_some() && b.is_some();
            let keep: Vec<bool> = a.iter().zip(b).map(|(a, b)| both(a, b)).collect();
            let of = |all: &[Option<f64>]| {
                all.iter().zip(&keep).map(|(v, keep)| v.filter(|_| *keep)).collect::<Vec<_>>()
            };
            (of(a), of(b))
        }
        PairingMethod::Separate => (a.to_vec(), b.to_vec()),
    };
    let (base, value) = (Series::of(&a), Series::of(&b));
    if base.len() == 0 || value.len() == 0 {
        return Vec::new();
    }
    let few = base.len().min(value.len());
    let drawn = (few >= MIN_FOR_INTERVAL).then(|| resampling.draw(&base, &value));
    let mut all = Vec::new();
    for (at, (statistic, title)) in STATISTICS.iter().enumerate() {
        if matches!(statistic, Statistic::Quantile(f) if *f > 0.98) && few < MIN_FOR_P99 {
            continue;
        }
        all.push(ComparedMeasure {
            name: format!("{name}, {title}"),
            base: base.statistic(*statistic),
            value: value.statistic(*statistic),
            difference: drawn.as_ref().map(|drawn| drawn.difference(at)),
            ratio: drawn.as_ref().and_then(|drawn| drawn.ratio(at)),
        });
    }
    all
}
