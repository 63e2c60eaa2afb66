//! The results of a simulation beyond its runs: every policy's metrics over several seeds, with confidence intervals.

use serde::Serialize;

/// A mean over seeds with its confidence interval.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MeasureEstimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % confidence interval; absent for a single seed.
    pub half_width: Option<f64>,
}

/// One metric of every policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MeasureComparison {
    /// Its name as the page shows it.
    pub name: String,
    /// `s` for seconds, `share` for a fraction from 0 to 1, empty for a plain number.
    pub unit: &'static str,
    /// 1 if more is better, -1 if less is better, 0 otherwise.
    pub better: i8,
    /// The value of each policy.
    pub found: Vec<MeasureEstimate>,
    /// The ratio of each policy to the first, seed by seed; absent where the first has 0.
    pub ratios: Vec<Option<MeasureEstimate>>,
}

/// The share of one server, or of several equal servers.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServerShare {
    /// The server, or the servers.
    pub name: String,
    /// Its share of all responses with each policy, from 0 to 1.
    pub of: Vec<f64>,
}

/// A recorded run on real GPUs and what the model predicts for it, in mean seconds per request.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReplayFidelity {
    /// Name of the recording.
    pub run: String,
    /// The fleet that it ran on.
    pub fleet: String,
    /// Requests in it.
    pub requests: u64,
    /// Mean as recorded.
    pub measured: f64,
    /// Mean as simulated with the recorded arrivals, lengths and choices.
    pub simulated: f64,
}

/// A simulation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SimulationReport {
    /// What was simulated, as pairs of a label and a description.
    pub about: Vec<(String, String)>,
    /// The policies, in order; the others are compared with the first.
    pub policies: Vec<String>,
    /// The metrics.
    pub measures: Vec<MeasureComparison>,
    /// The shares of the servers.
    pub shares: Vec<ServerShare>,
    /// The incidents: when, in seconds, and what happened.
    pub marks: Vec<(f64, String)>,
    /// The accuracy of the engine model.
    pub fidelity: Vec<ReplayFidelity>,
}

/// A metric of simulations that pages show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShownMeasure {
    /// Its name in the JSON of `sgl-router simulate`.
    pub key: &'static str,
    /// Its name on the page.
    pub name: &'static str,
    /// As in [`MeasureComparison::unit`].
    pub unit: &'static str,
    /// As in [`MeasureComparison::better`].
    pub better: i8,
}

const fn shown(key: &'static str, name: &'static str, unit: &'static str, better: i8) -> ShownMeasure {
    ShownMeasure { key, name, unit, better }
}

/// The metrics of simulations that pages show, in their order.
pub const SHOWN_MEASURES: [ShownMeasure; 16] = [
    shown("e2e_mean_s", "Latency, mean", "s", -1),
    shown("e2e_p50_s", "Latency, median", "s", -1),
    shown("e2e_p90_s", "Latency, 90 %", "s", -1),
    shown("e2e_p99_s", "Latency, 99 %", "s", -1),
    shown("ttft_mean_s", "First token, mean", "s", -1),
    shown("ttft_p50_s", "First token, median", "s", -1),
    shown("ttft_p90_s", "First token, 90 %", "s", -1),
    shown("ttft_p99_s", "First token, 99 %", "s", -1),
    shown("tpot_mean_s", "Per token, mean", "s", -1),
    shown("tpot_p50_s", "Per token, median", "s", -1),
    shown("tpot_p90_s", "Per token, 90 %", "s", -1),
    shown("tpot_p99_s", "Per token, 99 %", "s", -1),
    shown("goodput_per_s", "Goodput, requests/s", "", 1),
    shown("prefix_hits", "Prompt tokens found in a cache", "share", 1),
    shown("imbalance", "Imbalance, busiest to mean", "", 0),
    shown("failed", "Failures", "", -1),
];
