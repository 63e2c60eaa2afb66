//! Averages over the requests of this fleet, to which one request's prediction is compared.

/// Requests over which the averages are taken.
const MEMORY_REQUESTS: f64 = 100.0;

/// An exponentially decaying average; it starts with the first value.
#[derive(Clone, Copy, Debug, Default)]
struct MovingAverage {
    value: f64,
    count: f64,
}

impl MovingAverage {
    fn add(&mut self, value: f64) {
        self.count = (self.count + 1.0).min(MEMORY_REQUESTS);
        self.value += (value - self.value) / self.count;
    }
}

/// What was predicted for one request when it was sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Prediction {
    /// Seconds until its first token, without the time its own uncached tokens take.
    pub(super) wait: f64,
    /// Seconds per uncached prompt token on its worker.
    pub(super) prefill_token: f64,
    /// Share of its prompt that the worker had been sent before.
    pub(super) reused: f64,
}

/// The averages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Baseline {
    wait: MovingAverage,
    prefill_token: MovingAverage,
    reuse: MovingAverage,
    latency: MovingAverage,
    prompt: MovingAverage,
    output: MovingAverage,
}

impl Baseline {
    /// Records the prompt tokens of a request that was sent, and those that are expected to be generated.
    pub(super) fn sized(&mut self, prompt: f64, output: f64) {
        self.prompt.add(prompt);
        self.output.add(output);
    }

    /// Average prompt and output tokens; absent before the first request.
    pub(super) fn sizes(&self) -> Option<(f64, f64)> {
        (self.prompt.count > 0.0).then_some((self.prompt.value, self.output.value))
    }

    /// Records a request that was sent.
    pub(super) fn dispatched(&mut self, prediction: Prediction) {
        self.wait.add(prediction.wait);
        self.prefill_token.add(prediction.prefill_token);
        self.reuse.add(prediction.reused);
    }

    /// Records that a complete response took this many seconds.
    pub(super) fn completed(&mut self, latency: f64) {
        self.latency.add(latency);
    }

    /// Average seconds until the first token of a prompt of this many tokens of which nothing is cached.
    pub(super) fn ttft(&self, prompt: f64) -> f64 {
        self.wait.value + self.prefill_token.value * prompt
    }

    /// Average seconds of a complete response; 0 before the first.
    pub(super) const fn latency(&self) -> f64 {
        self.latency.value
    }

    /// Share of the prompt tokens that had been sent before: the chance that cached tokens are asked for again.
    pub(super) const fn reuse(&self) -> f64 {
        self.reuse.value
    }
}
