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
    /// From those of the same API, with tools or a response format or without.
    Form,
}

impl LengthClass {
    /// Every class, in declaration order.
    pub const ALL: [Self; 8] = [
        Self::Fleet,
        Self::PromptLength,
        Self::PromptHead,
        Self::Client,
        Self::ClientLength,
        Self::Model,
        Self::OutputLimit,
        Self::Form,
    ];

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
            Self::Form => "form",
        }
    }
}

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
    pub(crate) fn new(class: LengthClass, seen: &LengthHistogram) -> Self {
        Self::of(class, seen.parts(&ENDS))
    }

    fn of(class: LengthClass, parts: [f32; PARTS]) -> Self {
        let mean = parts.iter().zip(SHARES).map(|(length, share)| length * share).sum();
        Self { class, parts, mean }
    }

    /// The same of an output that is cut off at `limit` tokens.
    #[must_use]
    pub(crate) fn up_to(self, limit: Option<u32>) -> Self {
        let Some(limit) = limit else { return self };
        Self::of(self.class, self.parts.map(|length| length.min(limit.max(1) as f32)))
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
        let steps = if share > 0.0 { steps / share } else { shared(0.5 * generated + 1.0) };
        f64::from(steps) / others.len() as f64
    }

    /// The length that this share of the outputs stays below.
    pub fn quantile(&self, share: f64) -> f64 {
        let part = ENDS.iter().position(|end| share <= f64::from(*end)).unwrap_or(PARTS - 1);
        f64::from(self.parts[part])
    }
}
