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
