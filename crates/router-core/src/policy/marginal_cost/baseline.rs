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

/// The share of first tokens that an SLO is to hold for, and how far one that misses it moves the margin.
const SLO_SHARE: f64 = 0.99;
const MARGIN_GAIN: f64 = 0.05;
/// Bounds of the margin.
const MARGINS: (f64, f64) = (0.7, 3.0);

/// A factor on predicted times to the first token with which [`SLO_SHARE`] of them keep the SLO: each miss raises it, each
/// first token in time lowers it (a stochastic approximation, Robbins and Monro, 1951).
#[derive(Clone, Copy, Debug)]
struct SloMargin(f64);

impl Default for SloMargin {
    fn default() -> Self {
        Self(1.0)
    }
}

impl SloMargin {
    fn add(&mut self, is_late: bool) {
        let late = f64::from(u8::from(is_late));
        self.0 = (self.0 * (MARGIN_GAIN * (late - (1.0 - SLO_SHARE))).exp()).clamp(MARGINS.0, MARGINS.1);
    }
}

/// How long a request is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct RequestSizes {
    /// Prompt tokens.
    pub(super) prompt: f64,
    /// Output tokens.
    pub(super) output: f64,
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
    slo_margin: SloMargin,
}

impl Baseline {
    /// Records how long a request that was sent is expected to be.
    pub(super) fn sized(&mut self, sizes: RequestSizes) {
        self.prompt.add(sizes.prompt);
        self.output.add(sizes.output);
    }

    /// Average sizes; absent before the first request.
    pub(super) fn sizes(&self) -> Option<RequestSizes> {
        let sizes = RequestSizes { prompt: self.prompt.value, output: self.output.value };
        (self.prompt.count > 0.0).then_some(sizes)
    }

    /// Records a request that was sent.
    pub(super) fn dispatched(&mut self, prediction: Prediction) {
        self.wait.add(prediction.wait);
        self.prefill_token.add(prediction.prefill_token);
        self.reuse.add(prediction.reused);
    }

    /// Records whether a first token missed the SLO.
    pub(super) fn first_token(&mut self, is_late: bool) {
        self.slo_margin.add(is_late);
    }

    /// The factor on predicted times to the first token with which nearly all keep the SLO.
    pub(super) const fn slo_margin(&self) -> f64 {
        self.slo_margin.0
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
