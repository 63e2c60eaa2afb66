//! Stand-ins for a tokenizer and a model: how text becomes tokens, and which text comes out.
//!
//! The rules are deterministic and simple enough to compute by hand.
//!
//! * A token is four bytes of UTF-8 text, the last one maybe fewer. A chat is first rendered as
//!   `<|role|>\ncontent<|end|>\n` per message plus `<|assistant|>\n`.
//! * Every output token is a space and a word of three letters, so output text counts the same when it comes
//!   back in a later prompt.
//! * Output text and length follow from the server's seed, the prompt and the choice index alone.

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Bytes per token.
pub(crate) const BYTES_PER_TOKEN: usize = 4;
/// Token id of the first word; the words follow in order.
const FIRST_ID: u32 = 1000;
/// End-of-sequence token id in `finish_reason.matched`.
pub(crate) const EOS: u32 = 2;

const WORDS: &[u8; 256] = b" the and for are but not you all any can had her was one our out day get has him \
his how man new now old see two way who boy did its let put say she too use dad mom cat dog run sit top red big \
far few got lot own end try ask men set air eye job map key fly";

/// Number of tokens in a text.
pub(crate) fn count(text: &str) -> u32 {
    u32::try_from(text.len().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX)
}

/// Token ids of a text.
pub(crate) fn ids(text: &str) -> Vec<u32> {
    text.as_bytes()
        .chunks(BYTES_PER_TOKEN)
        .map(|chunk| match WORDS.chunks(BYTES_PER_TOKEN).position(|word| word == chunk) {
            Some(i) => FIRST_ID + i as u32,
            None => 2000 + (xxh3_64_with_seed(chunk, 0) % 30_000) as u32,
        })
        .collect()
}

/// Text of token ids: the word of each, by id modulo 64.
pub(crate) fn from_ids(ids: &[u32]) -> String {
    ids.iter().map(|id| word_at((id.wrapping_sub(FIRST_ID) % 64) as usize)).collect()
}

/// Chained hashes of the full blocks of `block_tokens` tokens of a text prompt.
pub(crate) fn text_blocks(text: &str, block_tokens: u32) -> Box<[u64]> {
    chain(text.as_bytes(), block_tokens as usize * BYTES_PER_TOKEN)
}

/// Chained hashes of the full blocks of a prompt given as token ids.
pub(crate) fn id_blocks(ids: &[u32], block_tokens: u32) -> Box<[u64]> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    chain(&bytes, block_tokens as usize * 4)
}

fn chain(bytes: &[u8], block: usize) -> Box<[u64]> {
    let mut previous = 0;
    bytes
        .chunks_exact(block.max(1))
        .map(|chunk| {
            previous = xxh3_64_with_seed(chunk, previous);
            previous
        })
        .collect()
}

/// The seed of one choice's output.
pub(crate) fn output_seed(server: u64, prompt: &[u8], choice: u32) -> u64 {
    let mut hash = Xxh3::with_seed(server);
    hash.update(prompt);
    hash.update(&choice.to_le_bytes());
    hash.digest()
}

/// Tokens a model would generate before its end-of-sequence token: log-normal with median 128 and sigma 1
/// (mean 211), at least 1. Shapes of that kind are what chat traces show; the numbers are ours.
pub(crate) fn natural_length(seed: u64) -> u32 {
    let mut rng = router_core::Rng::seeded(seed);
    // Sum of twelve uniforms: a normal variate good to three sigma, without a table or trigonometry.
    let normal: f64 = (0..12).map(|_| rng.unit_f64()).sum::<f64>() - 6.0;
    (128.0 * normal.exp()).round().max(1.0) as u32
}

/// The length that a prompt wishes for: the number in `Answer in 17 words.`, if that stands at its end or in the last few words
/// before it, where a chat template may have added to it. A word is a token. This fixes the length of a response through any
/// router: unlike headers and members of our own, no router drops a part of the prompt, and none reads it.
pub(crate) fn wished_length(text: &str) -> Option<u32> {
    const BEGINNING: &str = "Answer in ";
    let wish = text.rfind(BEGINNING)? + BEGINNING.len();
    let (words, after) = text[wish..].split_once(" words.")?;
    (after.len() <= AFTER_WISH).then(|| words.parse().ok()).flatten().filter(|words| *words > 0)
}

/// Bytes that may stand after the wish for a length: the end of a chat template.
const AFTER_WISH: usize = 64;

/// The word of output token `position`: always one space and three letters.
pub(crate) fn word(seed: u64, position: u32) -> &'static str {
    word_at(pick(seed, position))
}

/// The id of output token `position`.
pub(crate) fn word_id(seed: u64, position: u32) -> u32 {
    FIRST_ID + pick(seed, position) as u32
}

fn pick(seed: u64, position: u32) -> usize {
    let x = (seed ^ u64::from(position)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (x >> 58) as usize
}

fn word_at(i: usize) -> &'static str {
    WORDS
        .get(i * BYTES_PER_TOKEN..(i + 1) * BYTES_PER_TOKEN)
        .and_then(|w| std::str::from_utf8(w).ok())
        .unwrap_or(" the")
}

/// Output tokens `0..n` as text.
pub(crate) fn output(seed: u64, n: u32) -> String {
    (0..n).map(|i| word(seed, i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_token_each() {
        let text = output(7, 500);
        assert_eq!(count(&text), 500);
        let ids = ids(&text);
        assert_eq!(ids, (0..500).map(|i| word_id(7, i)).collect::<Vec<_>>());
        assert_eq!(from_ids(&ids), text);
        assert!(WORDS.chunks(4).all(|w| w[0] == b' ' && w[1..].iter().all(u8::is_ascii_lowercase)));
    }

    #[test]
    fn blocks_match_up_to_first_difference() {
        let (a, b) = ("x".repeat(300), format!("{}{}", "x".repeat(200), "y".repeat(100)));
        let (a, b) = (text_blocks(&a, 16), text_blocks(&b, 16));
        assert_eq!((a.len(), b.len()), (4, 4));
        assert_eq!(a.iter().zip(&b).take_while(|(a, b)| a == b).count(), 3);
    }

    #[test]
    fn wish_is_read_at_the_end() {
        for (text, wish) in [
            ("Why? Answer in 17 words.", Some(17)),
            ("Answer in 3 words. Why? Answer in 250 words.\n<|assistant|>\n", Some(250)),
            ("Answer in many words.", None),
            ("Answer in 0 words.", None),
            ("Answer in 17 words", None),
            ("Why?", None),
        ] {
            assert_eq!(wished_length(text), wish, "{text}");
        }
        assert_eq!(wished_length(&format!("Answer in 17 words.{}", " and".repeat(20))), None);
    }

    #[test]
    fn natural_lengths_have_stated_median() {
        let mut lengths: Vec<u32> = (0..2001).map(natural_length).collect();
        lengths.sort_unstable();
        assert!((115..140).contains(&lengths[1000]), "{}", lengths[1000]);
    }
}
