//! Lengths of the outputs of all traffic, in the form in which costs need them.

use crate::LengthForecast;
use crate::lengths::{BUCKETS, bucket, middle};

/// What is expected of the output of any request, in tokens.
#[derive(Clone, Debug)]
pub(super) struct OutputLengths {
    forecast: LengthForecast,
    /// Equally likely lengths of a new output.
    likely: [f64; LengthForecast::LIKELY],
    /// By tokens generated so far: how many more steps a running output and a new one are expected to share.
    shared: [f64; BUCKETS],
}

impl Default for OutputLengths {
    fn default() -> Self {
        Self::new(LengthForecast::prior())
    }
}

impl OutputLengths {
    fn new(forecast: LengthForecast) -> Self {
        let likely = forecast.likely();
        let generated = |b: usize| if b == 0 { 0.0 } else { middle(b) };
        let shared = std::array::from_fn(|b| forecast.shared_steps(generated(b), &likely));
        Self { forecast, likely, shared }
    }

    /// Takes over what all traffic forecasts now.
    pub(super) fn follow(&mut self, forecast: Option<LengthForecast>) {
        if let Some(forecast) = forecast.filter(|forecast| *forecast != self.forecast) {
            *self = Self::new(forecast);
        }
    }

    /// What is expected of a new output.
    pub(super) const fn forecast(&self) -> &LengthForecast {
        &self.forecast
    }

    /// How many steps an output that has `generated` tokens is expected to share with a new one.
    pub(super) fn shared_steps(&self, generated: f64) -> f64 {
        self.shared[bucket(generated)]
    }

    /// Equally likely lengths of a new output.
    pub(super) const fn likely(&self) -> &[f64] {
        &self.likely
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LengthClass;
    use crate::lengths::LengthHistogram;

    fn after(lengths: impl Iterator<Item = f32>) -> OutputLengths {
        let mut seen = LengthHistogram::prior();
        lengths.for_each(|tokens| seen.add(tokens, 0.998));
        let mut known = OutputLengths::default();
        known.follow(Some(LengthForecast::new(LengthClass::Fleet, &seen)));
        known
    }

    #[test]
    fn rest_shrinks_with_what_was_generated() {
        let lengths = after((0..3000).map(|_| 70.0));
        assert!((lengths.shared_steps(0.0) - 70.0).abs() < 5.0);
        assert!(lengths.shared_steps(50.0) < 30.0, "little is left of it");
    }

    #[test]
    fn heavy_tail_predicts_longer_remaining_output() {
        let lengths = after((0..4000).map(|i| if i % 10 == 0 { 5000.0 } else { 50.0 }));
        assert!(lengths.shared_steps(100.0) > lengths.shared_steps(10.0));
    }
}
