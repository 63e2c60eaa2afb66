//! What a usual request is like: the workers of a large fleet are ranked by what it would cost on them.

use super::cost::CostInputs;

/// Requests over which the averages are taken.
const MEMORY_REQUESTS: f64 = 100.0;

/// Average sizes of the requests that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UsualRequest {
    requests: f64,
    prompt: f64,
    output: f64,
}

impl UsualRequest {
    /// Takes a request that was sent into account.
    pub(super) fn learn(&mut self, inputs: &CostInputs) {
        self.requests = (self.requests + 1.0).min(MEMORY_REQUESTS);
        self.prompt += (inputs.prompt - self.prompt) / self.requests;
        self.output += (inputs.output - self.output) / self.requests;
    }

    /// `inputs` for a request of these sizes.
    pub(super) fn inputs(&self, inputs: CostInputs) -> CostInputs {
        let (prompt, output) =
            if self.requests > 0.0 { (self.prompt, self.output) } else { (inputs.prompt, inputs.output) };
        CostInputs { prompt, output, ..inputs }
    }
}
