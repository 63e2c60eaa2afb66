//! A custom dataset: JSON Lines with a prompt and the number of output tokens.

use super::{Dataset, DatasetError, PromptSample, json_lines, read};
use crate::prompt::{Prompt, tokens_of};
use serde::Deserialize;
use std::path::Path;

/// One line. Other members are allowed and not read.
#[derive(Deserialize)]
struct CustomLine {
    #[serde(alias = "text", alias = "input")]
    prompt: String,
    #[serde(
        alias = "output_tokens",
        alias = "max_tokens",
        alias = "max_new_tokens",
        alias = "max_completion_tokens"
    )]
    output_len: Option<u32>,
}

/// Reads JSON Lines: `prompt` (or `text`, `input`), and `output_len` (or `output_tokens`, `max_tokens`,
/// `max_new_tokens`, `max_completion_tokens`), which is `output_len` where a line does not say.
///
/// # Errors
/// The file cannot be read, or no line of it can be used.
pub fn read_custom(file: &Path, output_len: u32) -> Result<Dataset, DatasetError> {
    let (lines, bad) = json_lines::<CustomLine>(file, &read(file)?);
    let sample = |(_, line): (usize, CustomLine)| PromptSample {
        input_tokens: tokens_of(&line.prompt),
        output_tokens: line.output_len.unwrap_or(output_len).max(1),
        prompt: Prompt::Text(line.prompt.into()),
    };
    Dataset { samples: lines.into_iter().map(sample).collect(), bad }.checked(file)
}
