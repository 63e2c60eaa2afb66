//! What the rules read and what they report.

use std::fmt;

/// A file that is, or is about to be, in the repository.
#[derive(Debug)]
pub(crate) struct TreeFile {
    /// Its path from the root, with forward slashes.
    pub(crate) path: String,
    /// Its text; `None` where it is not UTF-8.
    pub(crate) text: Option<String>,
}

/// One breach of a rule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    /// The file, from the root of the repository.
    pub(crate) file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}
