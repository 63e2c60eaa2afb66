//! The errors of commands.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Why a command failed. The message is one line.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A flag has a value that cannot be used.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag, with its dashes.
        flag: &'static str,
        /// What is wrong with the value.
        problem: Box<dyn Error + Send + Sync>,
    },
    /// The command line or the configuration is invalid.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command was valid and failed.
    #[error("{0}")]
    Runtime(String),
}

impl CommandError {
    /// An error of this flag, for `map_err`.
    pub(crate) fn flag<E: Into<Box<dyn Error + Send + Sync>>>(flag: &'static str) -> impl FnOnce(E) -> Self {
        move |problem| Self::Flag { flag, problem: problem.into() }
    }

    /// An error of writing this file, for `map_err`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    /// The command failed while it ran.
    pub(crate) fn runtime(error: impl std::fmt::Display) -> Self {
        Self::Runtime(error.to_string())
    }

    /// The command line is invalid.
    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }

    /// Whether the command line or the configuration is at fault, and not what happened while the command ran.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Flag { .. } | Self::Usage(_))
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        if self.is_usage() { 2 } else { 1 }
    }
}
