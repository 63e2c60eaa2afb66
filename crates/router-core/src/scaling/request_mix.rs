//! The requests of the pool on average: how long they are, and how much of their prompts is in a cache.

/// What is left of a response after the next one.
const MEMORY: f64 = 0.997;

/// The lengths of one response.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct RequestLengths {
    /// Prompt tokens, and those of them that no cache held.
    pub(super) prompt: f64,
    pub(super) uncached: f64,
    /// Tokens generated.
    pub(super) output: f64,
}

/// Decayed means over the responses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestMix {
    weight: f64,
    prompt: f64,
    uncached: f64,
    uncached_squared: f64,
    output: f64,
}

impl RequestMix {
    pub(super) fn learn(&mut self, of: RequestLengths) {
        self.weight = MEMORY * self.weight + 1.0;
        let gain = self.weight.recip();
        let follow = |mean: &mut f64, value: f64| *mean += gain * (value - *mean);
        follow(&mut self.prompt, of.prompt);
        follow(&mut self.uncached, of.uncached);
        follow(&mut self.uncached_squared, of.uncached * of.uncached);
        follow(&mut self.output, of.output);
    }

    /// The mean lengths.
    pub(super) const fn mean(&self) -> RequestLengths {
        RequestLengths { prompt: self.prompt, uncached: self.uncached, output: self.output }
    }

    /// The mean of the squared number of uncached tokens.
    pub(super) const fn uncached_squared(&self) -> f64 {
        self.uncached_squared
    }

    /// The share of prompt tokens that had to be computed; 1 before the first response.
    pub(super) fn uncached_share(&self) -> f64 {
        if self.prompt > 0.0 { (self.uncached / self.prompt).clamp(0.0, 1.0) } else { 1.0 }
    }
}
