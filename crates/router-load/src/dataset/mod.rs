//! Prompts: made up, or read from a file.

mod custom;
mod lines;
mod random;
mod sharegpt;

pub use custom::read_custom;
pub(crate) use lines::json_lines;
pub use random::RandomShape;
pub use sharegpt::read_sharegpt;

use crate::prompt::Prompt;
use std::fmt;
use std::path::{Path, PathBuf};

/// One prompt and its number of output tokens.
#[derive(Clone, PartialEq, Debug)]
pub struct PromptSample {
    /// The prompt.
    pub prompt: Prompt,
    /// Its length in tokens, as planned.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

/// The contents of a file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Dataset {
    /// The samples, in the order of the file.
    pub samples: Vec<PromptSample>,
    /// What could not be used, and why.
    pub bad: Vec<BadEntry>,
}

impl Dataset {
    /// `count` samples: those of the file in its order, and again from the start when they run out.
    pub fn take(&self, count: usize) -> impl Iterator<Item = PromptSample> {
        self.samples.iter().cycle().take(count).cloned()
    }

    fn checked(self, file: &Path) -> Result<Self, DatasetError> {
        some_of(&self.samples, &self.bad, file)?;
        Ok(self)
    }
}

/// A file without a usable entry is an error, which names its first bad entry.
pub(crate) fn some_of<T>(good: &[T], bad: &[BadEntry], file: &Path) -> Result<(), DatasetError> {
    match (good, bad.first()) {
        ([], Some(first)) => Err(DatasetError::NothingUsable(first.clone())),
        ([], None) => Err(DatasetError::Empty(file.to_owned())),
        _ => Ok(()),
    }
}

/// An entry of a file that could not be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadEntry {
    /// The file.
    pub file: PathBuf,
    /// The line on which the entry starts, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.problem)
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be read.
    #[error("cannot read {file}: {source}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not JSON of the expected kind from end to end.
    #[error("{0}")]
    Malformed(BadEntry),
    /// None of its entries can be used; this is the first.
    #[error("{0}; no entry of the file can be used")]
    NothingUsable(BadEntry),
    /// There is nothing in it.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
}

/// The bytes of a file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, DatasetError> {
    std::fs::read(file).map_err(|source| DatasetError::Unreadable { file: file.to_owned(), source })
}

/// Serde's message about one entry, without its position, which counts from the start of the entry.
pub(crate) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
