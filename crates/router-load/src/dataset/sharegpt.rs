//! Conversations in the ShareGPT format: the first turn of the human is the prompt, the length of the next turn the
//! number of output tokens.

use super::{BadEntry, Dataset, DatasetError, PromptSample, problem, read};
use crate::prompt::{Prompt, tokens_of};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::path::Path;

#[derive(Deserialize)]
struct Conversation<'a> {
    #[serde(borrow, alias = "conversation")]
    conversations: Vec<ConversationTurn<'a>>,
}

#[derive(Deserialize)]
struct ConversationTurn<'a> {
    #[serde(borrow, alias = "role")]
    from: std::borrow::Cow<'a, str>,
    #[serde(borrow, alias = "content")]
    value: std::borrow::Cow<'a, str>,
}

/// Reads a JSON list of conversations, or one conversation per line. The number of output tokens
/// is that of the turn after the prompt; a conversation without such a turn is reported as bad.
///
/// # Errors
/// The file cannot be read, is not JSON of that kind, or holds no conversation that can be used.
pub fn read_sharegpt(file: &Path) -> Result<Dataset, DatasetError> {
    let bytes = read(file)?;
    let entries = if bytes.trim_ascii_start().first() == Some(&b'[') {
        list(file, &bytes)?
    } else {
        bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).collect()
    };
    let mut dataset = Dataset::default();
    let mut lines = LineCounter::new(&bytes);
    for entry in entries {
        match sample(entry) {
            Ok(sample) => dataset.samples.push(sample),
            Err(why) => {
                let (line, problem) = (lines.line_of(entry), why.to_string());
                dataset.bad.push(BadEntry { file: file.to_owned(), line, problem });
            }
        }
    }
    dataset.checked(file)
}

/// The elements of the list, unread.
fn list<'a>(file: &Path, bytes: &'a [u8]) -> Result<Vec<&'a [u8]>, DatasetError> {
    match serde_json::from_slice::<Vec<&RawValue>>(bytes) {
        Ok(all) => Ok(all.into_iter().map(|raw| raw.get().as_bytes()).collect()),
        Err(error) => {
            let problem = format!("column {}: {}", error.column(), problem(&error));
            Err(DatasetError::Malformed(BadEntry { file: file.to_owned(), line: error.line(), problem }))
        }
    }
}

/// Why a conversation cannot be used.
#[derive(Debug, thiserror::Error)]
enum UnusableConversation {
    #[error("{}", problem(.0))]
    Json(#[from] serde_json::Error),
    #[error("no turn is from 'human' or 'user'")]
    NoPrompt,
    #[error("the first prompt is empty")]
    EmptyPrompt,
    #[error("no turn follows the first prompt")]
    NoResponse,
}

fn sample(entry: &[u8]) -> Result<PromptSample, UnusableConversation> {
    let conversation: Conversation<'_> = serde_json::from_slice(entry)?;
    let mut turns = conversation.conversations.iter();
    let prompt =
        turns.find(|turn| matches!(&*turn.from, "human" | "user")).ok_or(UnusableConversation::NoPrompt)?;
    if prompt.value.is_empty() {
        return Err(UnusableConversation::EmptyPrompt);
    }
    let response =
        turns.next().filter(|turn| !turn.value.is_empty()).ok_or(UnusableConversation::NoResponse)?;
    Ok(PromptSample {
        prompt: Prompt::Text(prompt.value.as_ref().into()),
        input_tokens: tokens_of(&prompt.value),
        output_tokens: tokens_of(&response.value),
    })
}

/// Finds the lines of entries that come in the order of the file, counting each line break once.
struct LineCounter<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 1 }
    }

    /// `entry` is a part of the bytes.
    fn line_of(&mut self, entry: &[u8]) -> usize {
        let offset = (entry.as_ptr() as usize).saturating_sub(self.bytes.as_ptr() as usize);
        let between = self.bytes.get(self.at..offset).unwrap_or_default();
        self.line += between.iter().filter(|b| **b == b'\n').count();
        self.at = self.at.max(offset);
        self.line
    }
}
