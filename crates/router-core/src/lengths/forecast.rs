//! A forecast of one output's length.

use super::histogram::LengthHistogram;

/// Where the parts of a distribution end: tenths, and a finer tail, because most of the work is there.
const ENDS: [f32; PARTS] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
/// How many parts there are.
const PARTS: usize = 12;
/// The share of each part.
const SHARES: [f32; PARTS] = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.04, 0.01];

/// How a length was foreseen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LengthClass {
    /// From all responses.
    Fleet,
    /// From those to prompts of a like length.
    PromptLength,
    /// From those to prompts that begin alike: with the same system prompt or template.
    PromptHead,
    /// From those to the same client.
    Client,
    /// From those to the same client's prompts of a like length.
    ClientLength,
    /// From those of the same model or adapter.
    Model,
    /// From those to requests with the same limit of output tokens.
    OutputLimit,
    /// From the share of its limit that each output of the same client had.
    LimitShare,
    /// From those of the same API, with tools or a response format or without.
    Form,
    /// The caller said it.
    Stated,
}

impl LengthClass {
    /// Every class, in declaration order.
    pub const ALL: [Self; 10] = [
        Self::Fleet,
        Self::PromptLength,
        Self::PromptHead,
        Self::Client,
        Self::ClientLength,
        Self::Model,
        Self::OutputLimit,
        Self::LimitShare,
        Self::Form,
        Self::Stated,
    ];

    /// The position in [`LengthClass::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Stable name, for records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::PromptLength => "prompt_length",
            Self::PromptHead => "prompt_head",
            Self::Client => "client",
            Self::ClientLength => "client_length",
            Self::Model => "model",
            Self::OutputLimit => "output_limit",
            Self::LimitShare => "limit_share",
            Self::Form => "form",
            Self::Stated => "stated",
        }
    }
}

/// Half of a bucket of the histogram: a quarter of a doubling.
const HALF_BUCKET: f32 = 1.189_207_1;

/// What is expected of the length of one output, in tokens: a distribution in twelve parts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LengthForecast {
    /// The class of requests that it comes from.
    pub class: LengthClass,
    /// Mean length of each part, ascending.
    parts: [f32; PARTS],
    mean: f32,
}

impl LengthForecast {
    /// How many lengths [`likely`](Self::likely) gives.
    pub(crate) const LIKELY: usize = 5;

    /// What is assumed before the first response.
    pub(crate) fn prior() -> Self {
        Self::new(LengthClass::Fleet, &LengthHistogram::prior())
    }

    pub(crate) fn new(class: LengthClass, seen: &LengthHistogram) -> Self {
        Self::of(class, seen.parts(&ENDS))
    }

    /// What a caller states: all parts are this long.
    pub(crate) fn stated(tokens: u32) -> Self {
        Self::of(LengthClass::Stated, [tokens as f32; PARTS])
    }

    fn of(class: LengthClass, parts: [f32; PARTS]) -> Self {
        let mean = parts.iter().zip(SHARES).map(|(length, share)| length * share).sum();
        Self { class, parts, mean }
    }

    /// The same of outputs that are so many times as long.
    #[must_use]
    pub(crate) fn times(self, factor: f32) -> Self {
        Self::of(self.class, self.parts.map(|length| length * factor))
    }

    /// The same of an output that is cut off at `limit` tokens.
    #[must_use]
    pub(crate) fn up_to(self, limit: Option<u32>) -> Self {
        let Some(limit) = limit else { return self };
        Self::of(self.class, self.parts.map(|length| length.min(limit.max(1) as f32)))
    }

    /// Lengths that are equally likely: about those below which a tenth, three, five, seven and nine tenths are.
    pub(crate) fn likely(&self) -> [f64; Self::LIKELY] {
        [1, 3, 4, 6, 8].map(|part| f64::from(self.parts[part]))
    }

    /// Expected length.
    pub fn mean(&self) -> f64 {
        f64::from(self.mean)
    }

    /// How many of its further steps an output that has `generated` tokens is expected to share with another one, whose
    /// length is one of `others` with equal chance.
    pub fn shared_steps(&self, generated: f64, others: &[f64]) -> f64 {
        let generated = generated as f32;
        let shared = |rest: f32| others.iter().map(|other| (*other as f32).min(rest)).sum::<f32>();
        let (mut share, mut steps) = (0.0, 0.0);
        for (length, weight) in self.parts.iter().zip(SHARES) {
            if *length > generated {
                share += weight;
                steps += weight * shared(length - generated);
            }
        }
        // Longer than anything seen: the longer it has run, the longer it will run.
        let steps = if share > 0.0 { steps / share } else { shared(generated + 1.0) };
        f64::from(steps) / others.len() as f64
    }

    /// The length that this share of the outputs stays below.
    pub fn quantile(&self, share: f64) -> f64 {
        let part = ENDS.iter().position(|end| share <= f64::from(*end)).unwrap_or(PARTS - 1);
        f64::from(self.parts[part])
    }

    /// The rank of a length: the share of the distribution that lies below it, from 0 to 1 (the probability integral transform). If
    /// forecasts are calibrated, the ranks of the lengths that came are spread evenly.
    ///
    /// Parts of equal length stand for lengths up to a quarter of a doubling on both sides, which is what a bucket of the histogram
    /// holds, and the rank rises evenly with the logarithm there. Parts that the limit of the request cut off stand for the limit,
    /// so a length at the limit has the rank in their middle.
    pub fn rank(&self, tokens: u32) -> f64 {
        let length = tokens.max(1) as f32;
        let mut first = 0;
        while first < PARTS {
            let value = self.parts[first];
            let next = (first..PARTS).find(|part| self.parts[*part] != value).unwrap_or(PARTS);
            let start = if first == 0 { 0.0 } else { ENDS[first - 1] };
            let share = ENDS[next - 1] - start;
            let before = if first == 0 { 0.0 } else { (self.parts[first - 1] * value).sqrt() };
            let after = if next == PARTS { f32::INFINITY } else { (value * self.parts[next]).sqrt() };
            let (low, high) = (before.max(value / HALF_BUCKET), after.min(value * HALF_BUCKET));
            if length < low {
                return f64::from(start);
            }
            if length < high {
                return f64::from(start + share * (length / low).ln() / (high / low).ln());
            }
            first = next;
        }
        1.0
    }

    /// This forecast beside the length that came, if the output ended by itself.
    pub fn verify(&self, tokens: Option<u32>) -> VerifiedForecast {
        let rank = tokens.map(|tokens| self.rank(tokens) as f32);
        VerifiedForecast { class: self.class, mean: self.mean, rank }
    }
}

/// A forecast beside what came, in the few bytes that a record keeps of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct VerifiedForecast {
    /// The class of requests that it came from.
    pub class: LengthClass,
    /// The length that it expected, in tokens.
    pub mean: f32,
    /// The [rank](LengthForecast::rank) of the length that came; absent if that is unknown, or the response was not complete.
    pub rank: Option<f32>,
}

impl VerifiedForecast {
    /// How far off the expected length was, as the absolute logarithm of the ratio: 0 is exact, 0.69 is twice or half.
    pub fn log_error(&self, tokens: u32) -> f64 {
        (f64::from(tokens.max(1)) / f64::from(self.mean.max(1.0))).ln().abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_calibrated_forecast_are_even() {
        let mut rng = crate::Rng::seeded(1);
        // From 10 to 1000 tokens, each doubling equally likely.
        let mut draw = || (10.0 * 100_f64.powf(rng.unit_f64())).round() as u32;
        let mut seen = LengthHistogram::prior().weighing(1e-6);
        (0..20_000).for_each(|_| seen.add(draw() as f32, 1.0));
        let forecast = LengthForecast::new(LengthClass::Fleet, &seen);
        let mut ranks: Vec<f64> = (0..20_000).map(|_| forecast.rank(draw())).collect();
        ranks.sort_by(f64::total_cmp);
        for quantile in [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95] {
            let below = ranks.partition_point(|rank| *rank <= quantile) as f64 / ranks.len() as f64;
            assert!((below - quantile).abs() < 0.04, "{quantile}: {below}");
        }
    }

    #[test]
    fn ranks_rise_from_0_to_1() {
        // Most of the distribution is in one bucket.
        let mut seen = LengthHistogram::prior();
        (0..50).for_each(|_| seen.add(100.0, 1.0));
        for forecast in [
            LengthForecast::new(LengthClass::Fleet, &LengthHistogram::prior()),
            LengthForecast::new(LengthClass::Client, &seen),
            LengthForecast::new(LengthClass::Client, &seen).up_to(Some(100)),
            LengthForecast::stated(100),
        ] {
            let ranks: Vec<_> = (0..5000).map(|tokens| forecast.rank(tokens)).collect();
            assert!(ranks.is_sorted() && ranks[0] == 0.0 && ranks[4999] == 1.0, "{forecast:?}");
        }
    }

    #[test]
    fn stated_length_has_the_middle_rank() {
        let stated = LengthForecast::stated(100);
        assert_eq!([50, 200].map(|tokens| stated.rank(tokens)), [0.0, 1.0]);
        assert!((stated.rank(100) - 0.5).abs() < 1e-3);
        assert_eq!(stated.up_to(Some(60)).mean().round(), 60.0);
        let off = stated.verify(Some(200));
        assert!((off.log_error(200) - 2_f64.ln()).abs() < 1e-6 && off.rank == Some(1.0));
        assert_eq!(stated.verify(None).rank, None);
    }
}
