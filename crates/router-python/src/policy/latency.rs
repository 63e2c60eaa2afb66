//! The recent latency of a worker.

use router_core::{Completion, Outcome};

/// The weight of a new sample in a moving mean.
const NEW_SAMPLE_WEIGHT: f64 = 0.1;

/// Moving means over the responses of one worker, in seconds; `None` before the first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecentLatency {
    pub(super) latency: Option<f64>,
    pub(super) ttft: Option<f64>,
}

impl RecentLatency {
    pub(super) fn learn(&mut self, completion: &Completion) {
        if completion.result.outcome == Outcome::Success {
            self.latency = Some(updated(self.latency, completion.server_latency()));
            self.ttft = completion.ttft().map(|ttft| updated(self.ttft, ttft)).or(self.ttft);
        }
    }
}

fn updated(mean: Option<f64>, sample: f64) -> f64 {
    mean.map_or(sample, |mean| mean + NEW_SAMPLE_WEIGHT * (sample - mean))
}
