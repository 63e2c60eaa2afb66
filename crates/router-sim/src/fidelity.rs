//! Accuracy of the engine model: recorded runs on real GPUs and what the model predicts for them.
//!
//! A test replays the runs and fails when a figure here differs from the result.

/// A recorded run, replayed with its recorded arrivals, lengths and choices.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ReplayedRun {
    /// Name of the recording.
    pub run: &'static str,
    /// The fleet that it ran on.
    pub fleet: &'static str,
    /// Requests in it.
    pub requests: usize,
    /// Mean seconds from sending to the last token, as recorded.
    pub measured: f64,
    /// Mean seconds from sending to the last token, as simulated.
    pub simulated: f64,
}

impl ReplayedRun {
    /// Relative error of the model; above 0 the model is too slow.
    pub fn error(&self) -> f64 {
        self.simulated / self.measured - 1.0
    }
}

/// Every recorded run with complete requests.
pub const REPLAYED_RUNS: [ReplayedRun; 8] = [
    of("RR_router_test_20250731_091332", UNEVEN, 200, 1.6023, 1.6116),
    of("RR2_router_test_20250731_091528", UNEVEN, 200, 1.6463, 1.6646),
    of("RD_router_test_20250731_091234", UNEVEN, 200, 1.5578, 1.5611),
    of("MU_router_test_20250731_091412", UNEVEN, 200, 1.8728, 1.8992),
    of("MUR_router_test_20250731_091452", UNEVEN, 200, 1.6021, 1.6179),
    of("RR_router_test_20250801_174252", EVEN, 1000, 0.5219, 0.5342),
    of("RD_router_test_20250801_174205", EVEN, 1000, 0.5533, 0.5426),
    of("MU_router_test_20250801_174407", EVEN, 1000, 0.8133, 0.8003),
];

/// On the first day one of the three servers ran a model that is 2.6 times as fast; later all three were equal.
const UNEVEN: &str = "sglang_1.5b,sglang_8b*2";
const EVEN: &str = "sglang_8b*3";

const fn of(
    run: &'static str,
    fleet: &'static str,
    requests: usize,
    measured: f64,
    simulated: f64,
) -> ReplayedRun {
    ReplayedRun { run, fleet, requests, measured, simulated }
}
