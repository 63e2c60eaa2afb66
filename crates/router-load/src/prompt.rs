//! Prompts: texts of a known length in tokens, with shared prefixes where planned.
//!
//! Without a tokenizer, four bytes of UTF-8 count as one token. Made-up prompts follow this exactly: each word is a
//! space and three letters, which is one token for the usual tokenizers too. For English prose the error is about 20 %.

use router_core::Rng;
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of UTF-8 text that count as one token.
pub const BYTES_PER_TOKEN: usize = 4;

/// Common words, each of them one token with the space before it.
const WORDS: &[u8; 256] = b" the and you for was not are but his her had she him one all out who has can now \
new two way may did get our any its how day too old own use man say men end see few put off far boy yet let big \
why car saw law set run six air god war ago lot nor ten sky sea";

/// The length of a text in tokens, by the rule of this module.
pub fn tokens_of(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// Made-up words. Of two segments with the same seed, the shorter is a prefix of the longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PromptSegment {
    /// Determines the words.
    pub seed: u64,
    /// How many.
    pub tokens: u32,
}

impl PromptSegment {
    fn write(self, out: &mut Vec<u8>) {
        let mut rng = Rng::seeded(self.seed);
        let mut left = self.tokens;
        while left > 0 {
            // 64 words are six bits, and a draw holds ten of them.
            let mut bits = rng.next_u64();
            for _ in 0..left.min(10) {
                let word = (bits & 63) as usize * BYTES_PER_TOKEN;
                out.extend_from_slice(&WORDS[word..word + BYTES_PER_TOKEN]);
                bits >>= 6;
            }
            left = left.saturating_sub(10);
        }
    }
}

/// The prompt of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Prompt {
    /// A text from a dataset.
    Text(Arc<str>),
    /// Generated when it is sent, so that a long trace needs no memory for texts.
    Made(Box<[PromptSegment]>),
}

impl Prompt {
    /// A made-up prompt of one segment.
    pub fn made(seed: u64, tokens: u32) -> Self {
        Self::Made(Box::new([PromptSegment { seed, tokens }]))
    }

    /// Other words of the same length, if it is made up. Prompts that shared a prefix under one seed share one of the same
    /// length under each; a text from a dataset stays.
    pub(crate) fn reseed(&mut self, seed: u64) {
        let mask = Rng::seeded(seed).next_u64();
        if let Self::Made(segments) = self {
            segments.iter_mut().for_each(|segment| segment.seed ^= mask);
        }
    }

    /// Makes a prompt that is made up shorter by `tokens`, from its end; a part of one token is left.
    pub(crate) fn shorten(&mut self, tokens: u32) {
        let Self::Made(segments) = self else { return };
        let total: u32 = segments.iter().map(|segment| segment.tokens).sum();
        let mut surplus = tokens.min(total.saturating_sub(1));
        for segment in segments.iter_mut().rev() {
            let cut = segment.tokens.min(surplus);
            segment.tokens -= cut;
            surplus -= cut;
        }
    }

    /// The text.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Made(segments) => {
                let tokens: usize = segments.iter().map(|s| s.tokens as usize).sum();
                let mut out = Vec::with_capacity(tokens * BYTES_PER_TOKEN);
                segments.iter().for_each(|segment| segment.write(&mut out));
                // The words are ASCII, so nothing is ever replaced.
                Cow::Owned(String::from_utf8(out).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_space_and_three_letters() {
        assert!(WORDS.chunks(4).all(|w| w[0] == b' ' && w[1..].iter().all(u8::is_ascii_lowercase)));
        let distinct: std::collections::HashSet<_> = WORDS.chunks(4).collect();
        assert_eq!(distinct.len(), 64);
    }

    #[test]
    fn made_prompt_has_exact_length_and_prefix() {
        for tokens in [0, 1, 9, 10, 11, 512] {
            assert_eq!(tokens_of(&Prompt::made(3, tokens).text()), tokens);
        }
        let (long, short) = (Prompt::made(3, 512), Prompt::made(3, 100));
        assert!(long.text().starts_with(&*short.text()));
        assert_ne!(Prompt::made(4, 100).text(), short.text());
    }

    #[test]
    fn reseeding_changes_words_alone() {
        let (mut long, mut short) = (Prompt::made(3, 512), Prompt::made(3, 100));
        let before = short.text().into_owned();
        long.reseed(7);
        short.reseed(7);
        assert!(long.text().starts_with(&*short.text()));
        assert_eq!(tokens_of(&short.text()), 100);
        assert_ne!(short.text()[..40], before[..40]);
        let mut text = Prompt::Text("as it is".into());
        text.reseed(7);
        assert_eq!(text.text(), "as it is");
    }

    #[test]
    fn prompt_is_shortened_from_its_end() {
        let segment = |tokens| PromptSegment { seed: 3, tokens };
        for (cut, left) in [(0, [5, 4]), (3, [5, 1]), (6, [3, 0]), (99, [1, 0])] {
            let mut prompt = Prompt::Made([segment(5), segment(4)].into());
            prompt.shorten(cut);
            assert_eq!(prompt, Prompt::Made(left.map(segment).into()), "{cut}");
        }
    }

    #[test]
    fn tokens_are_counted_by_bytes() {
        assert_eq!((tokens_of(""), tokens_of("a"), tokens_of("abcd"), tokens_of("abcde")), (0, 1, 1, 2));
    }
}
