//! Made-up prompts of random lengths.

use super::PromptSample;
use crate::prompt::{Prompt, PromptSegment};
use router_core::Rng;

/// The shape of random requests.
///
/// Lengths are uniform between `(1 - range_ratio / 2)` and `(1 + range_ratio / 2)` times the mean, as in
/// recorded runs of an earlier tool: 384 to 639 for a mean of 512 and a ratio of 0.5.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RandomShape {
    /// How many requests. Default 100.
    pub requests: usize,
    /// Mean length of a prompt in tokens. Default 512.
    pub input_len: u32,
    /// Mean number of output tokens. Default 128.
    pub output_len: u32,
    /// Width of the range of lengths, as a share of the mean, 0 to 2. Default 0.5.
    pub range_ratio: f64,
    /// Number of different shared prefixes; 0 = all prompts differ from the first word. Default 0.
    pub prefixes: u32,
    /// Length of a shared prefix in tokens, part of the prompt's length. Default 256.
    pub prefix_len: u32,
}

impl Default for RandomShape {
    fn default() -> Self {
        Self {
            requests: 100,
            input_len: 512,
            output_len: 128,
            range_ratio: 0.5,
            prefixes: 0,
            prefix_len: 256,
        }
    }
}

impl RandomShape {
    /// The requests under `seed`.
    pub fn samples(&self, seed: u64) -> Vec<PromptSample> {
        // Independent of the arrivals, which use the seed itself.
        let mut rng = Rng::seeded(seed ^ 0x6C65_6E67_7468_7321);
        let heads: Vec<u64> = (0..self.prefixes).map(|_| rng.next_u64()).collect();
        let sample = |_| {
            let input_tokens = self.length(self.input_len, &mut rng);
            let output_tokens = self.length(self.output_len, &mut rng);
            PromptSample { prompt: self.prompt(input_tokens, &heads, &mut rng), input_tokens, output_tokens }
        };
        (0..self.requests).map(sample).collect()
    }

    fn length(&self, mean: u32, rng: &mut Rng) -> u32 {
        let around = 1.0 + self.range_ratio * (rng.unit_f64() - 0.5);
        ((f64::from(mean) * around) as u32).max(1)
    }

    fn prompt(&self, tokens: u32, heads: &[u64], rng: &mut Rng) -> Prompt {
        let own = rng.next_u64();
        let Some(head) = heads.get(rng.below(heads.len())) else { return Prompt::made(own, tokens) };
        let shared = self.prefix_len.min(tokens);
        let head = PromptSegment { seed: *head, tokens: shared };
        Prompt::Made(Box::new([head, PromptSegment { seed: own, tokens: tokens - shared }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::tokens_of;
    use std::collections::HashSet;

    #[test]
    fn random_lengths_match_recorded_range() {
        let shape = RandomShape { requests: 5000, output_len: 50, ..RandomShape::default() };
        let samples = shape.samples(1);
        let range = |of: fn(&PromptSample) -> u32| {
            (samples.iter().map(of).min().unwrap(), samples.iter().map(of).max().unwrap())
        };
        assert_eq!(range(|s| s.input_tokens), (384, 639));
        assert_eq!(range(|s| s.output_tokens), (37, 62));
        assert!(samples.iter().all(|s| tokens_of(&s.prompt.text()) == s.input_tokens));
        let beginnings: HashSet<String> = samples.iter().map(|s| s.prompt.text()[..80].to_owned()).collect();
        assert_eq!(beginnings.len(), 5000);
    }

    #[test]
    fn zero_ratio_fixes_lengths() {
        let shape = RandomShape { range_ratio: 0.0, ..RandomShape::default() };
        assert!(shape.samples(3).iter().all(|s| (s.input_tokens, s.output_tokens) == (512, 128)));
    }

    #[test]
    fn prefixes_are_shared_within_prompt_length() {
        let shape = RandomShape { prefixes: 4, prefix_len: 256, requests: 400, ..RandomShape::default() };
        let heads: HashSet<String> =
            shape.samples(1).iter().map(|s| s.prompt.text()[..1024].to_owned()).collect();
        assert_eq!(heads.len(), 4);
        let short = RandomShape { input_len: 100, ..shape };
        assert!(short.samples(1).iter().all(|s| tokens_of(&s.prompt.text()) == s.input_tokens));
    }
}
