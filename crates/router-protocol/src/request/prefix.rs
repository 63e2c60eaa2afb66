//! Chained hashes of a prompt's leading blocks: equal hash `i` means equal blocks `0..=i`.
//!
//! The bytes of the body are hashed, escapes and JSON punctuation included, so nothing has to be decoded. Two clients
//! that escape the same text differently get different hashes. The turns of one conversation share their leading hashes,
//! which is what affinity needs.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes of prompt per hash: about 32 tokens of English.
pub const PREFIX_BLOCK_BYTES: u32 = 128;

/// The most hashes taken from one prompt, which cover its first 128 KiB. Prompts that are equal up to there count as
/// equal.
pub const MAX_PREFIX_BLOCKS: usize = 1024;

/// Replaces the content of `out` by the hashes of the whole blocks of `prompt`, first block first.
/// A tail shorter than a block is left out, because the next turn of the same conversation changes it.
pub fn prefix_hashes(prompt: &[u8], out: &mut Vec<u64>) {
    out.clear();
    chained_hashes(0, std::iter::empty(), prompt, out);
}

/// Appends the hashes, after `root`, of `preamble` and of the whole blocks of `prompt`. A part of the preamble ends with a block of its own,
/// which may be shorter: unlike the end of the prompt, it stays as it is in the next turn.
pub(crate) fn chained_hashes<'b>(
    root: u64,
    preamble: impl Iterator<Item = &'b [u8]>,
    prompt: &'b [u8],
    out: &mut Vec<u64>,
) {
    let blocks = preamble.flat_map(|part| part.chunks(PREFIX_BLOCK_BYTES as usize));
    let blocks = blocks.chain(prompt.chunks_exact(PREFIX_BLOCK_BYTES as usize));
    let mut before = root;
    out.extend(blocks.take(MAX_PREFIX_BLOCKS).map(|block| {
        before = xxh3_64_with_seed(block, before);
        before
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(prompt: &[u8]) -> Vec<u64> {
        let mut out = vec![1, 2, 3];
        prefix_hashes(prompt, &mut out);
        out
    }

    #[test]
    fn equal_only_before_first_difference() {
        let a = vec![b'a'; 1000];
        let mut b = a.clone();
        b[300] = b'b';
        let (ha, hb) = (hashes(&a), hashes(&b));
        assert_eq!(ha.len(), 7, "the tail of 104 bytes is left out");
        assert_eq!(ha[..2], hb[..2]);
        assert!(
            ha[2..].iter().zip(&hb[2..]).all(|(x, y)| x != y),
            "a later equal block must not match again"
        );
        assert_eq!(hashes(&a[..900]), ha, "a longer prompt extends the shorter one's hashes");
    }

    #[test]
    fn bounded_and_empty_if_short() {
        assert!(hashes(&[b'x'; 127]).is_empty());
        assert_eq!(hashes(&vec![b'x'; 10 << 20]).len(), MAX_PREFIX_BLOCKS);
    }
}
