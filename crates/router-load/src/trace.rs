//! Recorded traces, to be replayed: JSON Lines with `arrival_s`, `input_tokens`, `output_tokens` and, if known, `hash_ids`,
//! `client`, `max_tokens` and `stream`.

use crate::client::ClientName;
use crate::dataset::{BadEntry, DatasetError, json_lines, read, some_of};
use crate::prompt::{Prompt, PromptSegment};
use serde::Deserialize;
use std::path::Path;

/// Prompt tokens per id in `hash_ids`, as in the traces that Mooncake published.
pub const BLOCK_TOKENS: u32 = 512;

/// One request of a trace.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct TraceLine {
    /// When it arrived, in seconds from any origin.
    pub arrival_s: f64,
    /// Length of the prompt in tokens.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
    /// The prompt's blocks of [`BLOCK_TOKENS`], first one first, the last one maybe shorter. Equal ids are equal
    /// texts, in this line and in others. Empty if the trace has none: then the prompt is unique.
    #[serde(default)]
    pub hash_ids: Vec<u64>,
    /// Who sent it, if known: a text or a number.
    pub client: Option<ClientName>,
    /// The limit of output tokens that the request named. Without one the replay names `output_tokens`, and so tells the length.
    pub max_tokens: Option<u32>,
    /// Whether the response was streamed, if known.
    pub stream: Option<bool>,
}

impl TraceLine {
    /// The prompt: the texts of the blocks, up to the length of the line. The rest is text with the seed `own`.
    pub(crate) fn prompt(&self, own: u64) -> Prompt {
        let mut left = self.input_tokens;
        let mut segments: Vec<PromptSegment> = Vec::with_capacity(self.hash_ids.len() + 1);
        for id in &self.hash_ids {
            let tokens = left.min(BLOCK_TOKENS);
            segments.push(PromptSegment { seed: seed_of_block(*id), tokens });
            left -= tokens;
        }
        if left > 0 {
            segments.push(PromptSegment { seed: own, tokens: left });
        }
        segments.retain(|segment| segment.tokens > 0);
        Prompt::Made(segments.into())
    }

    /// The first invalid value.
    fn problem(&self) -> Option<&'static str> {
        if !(self.arrival_s.is_finite() && self.arrival_s >= 0.0) {
            return Some("arrival_s must be a number of seconds from 0");
        }
        if self.max_tokens == Some(0) {
            return Some("max_tokens must be above 0");
        }
        (self.input_tokens == 0).then_some("input_tokens must be above 0")
    }
}

/// Differs from the small seeds of the lines' own texts.
fn seed_of_block(id: u64) -> u64 {
    (id ^ 0x626C_6F63_6B73_2121).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// The contents of a trace file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RequestTrace {
    /// The requests in the order of their arrival.
    pub lines: Vec<TraceLine>,
    /// What could not be used, and why.
    pub bad: Vec<BadEntry>,
}

/// Reads a trace. Lines out of order are put in order of their arrival.
///
/// # Errors
/// The file cannot be read, or no line of it can be used.
pub fn read_trace(file: &Path) -> Result<RequestTrace, DatasetError> {
    let (lines, mut bad) = json_lines::<TraceLine>(file, &read(file)?);
    let mut trace = RequestTrace::default();
    for (number, line) in lines {
        match line.problem() {
            None => trace.lines.push(line),
            Some(problem) => {
                bad.push(BadEntry { file: file.to_owned(), line: number, problem: problem.to_owned() });
            }
        }
    }
    trace.lines.sort_by(|a, b| a.arrival_s.total_cmp(&b.arrival_s));
    bad.sort_by_key(|entry| entry.line);
    trace.bad = bad;
    some_of(&trace.lines, &trace.bad, file)?;
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::tokens_of;

    fn line(input_tokens: u32, hash_ids: &[u64]) -> TraceLine {
        TraceLine { input_tokens, hash_ids: hash_ids.to_vec(), ..TraceLine::default() }
    }

    #[test]
    fn equal_block_ids_give_equal_texts() {
        let (a, b) = (line(1300, &[0, 1, 2]).prompt(7), line(1100, &[0, 1, 3]).prompt(8));
        let (a, b) = (a.text().into_owned(), b.text().into_owned());
        assert_eq!((tokens_of(&a), tokens_of(&b)), (1300, 1100));
        let shared = 2 * BLOCK_TOKENS as usize * 4;
        assert_eq!(a[..shared], b[..shared]);
        assert_ne!(a[shared..b.len()], b[shared..], "another block is another text");
        let short = line(1100, &[0, 1, 2]).prompt(9).text().into_owned();
        assert!(a.starts_with(&short), "a shorter block is the beginning of the longer");
    }

    #[test]
    fn uncovered_tokens_are_unique_text() {
        let text = line(600, &[4]).prompt(1).text().into_owned();
        assert_eq!(tokens_of(&text), 600);
        let other = line(600, &[4]).prompt(2).text().into_owned();
        assert_eq!(text[..2048], other[..2048]);
        assert_ne!(text[2048..], other[2048..]);
        assert_eq!(tokens_of(&line(100, &[1, 2, 3]).prompt(1).text()), 100, "more ids than tokens");
    }
}
