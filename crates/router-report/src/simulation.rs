//! What a simulation tells beyond its runs: every policy's figures over several seeds, with intervals.

use serde::Serialize;

/// A mean over seeds and how far off it may be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MeasureEstimate {
    /// The mean.
    pub mean: f64,
    /// Half the width of the 95 % interval; absent for a single seed.
    pub half_width: Option<f64>,
}

/// One measure of every policy.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MeasureComparison {
    /// Its name, for people.
    pub name: String,
    /// `s` for seconds, `share` for a part of one, empty for a plain number.
    pub unit: &'static str,
    /// Which way is better: 1 up, -1 down, 0 neither.
    pub better: i8,
    /// One per policy.
    pub found: Vec<MeasureEstimate>,
    /// To the first policy, seed by seed; absent where that has 0.
    pub ratios: Vec<Option<MeasureEstimate>>,
}

/// The part of one server, or of several alike.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ServerShare {
    /// The server, or the servers.
    pub name: String,
    /// Its part of all answers with each policy, 0 to 1.
    pub of: Vec<f64>,
}

/// A recorded run on real GPUs, and what the model makes of it: mean seconds of a request.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ReplayFidelity {
    /// Name of the recording.
    pub run: String,
    /// The fleet that it ran on.
    pub fleet: String,
    /// Requests in it.
    pub requests: u64,
    /// As recorded.
    pub measured: f64,
    /// As simulated, with the same arrivals, lengths and choices.
    pub simulated: f64,
}

/// A simulation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SimulationReport {
    /// What was simulated, as pairs of a word and what it was.
    pub about: Vec<(String, String)>,
    /// The policies, in their order; the first is what the others are compared with.
    pub policies: Vec<String>,
    /// What was measured.
    pub measures: Vec<MeasureComparison>,
    /// Who answered.
    pub shares: Vec<ServerShare>,
    /// When something happened to the fleet, in seconds, and what.
    pub marks: Vec<(f64, String)>,
    /// How true the model is.
    pub fidelity: Vec<ReplayFidelity>,
}
