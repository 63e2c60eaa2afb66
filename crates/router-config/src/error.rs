//! The error of an invalid configuration.

use crate::worker_url::WorkerUrlError;
use std::path::PathBuf;

/// Why a configuration is invalid: one line that names the key or flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The config file cannot be read.
    #[error("config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The text is not TOML, or has an unknown key or an invalid value.
    #[error("{origin}: {problem}")]
    Parse {
        /// Where the text is from.
        origin: String,
        /// Place and cause.
        problem: String,
    },
    /// The value of an option is invalid.
    #[error("{option}: {problem}")]
    Option {
        /// The flag, or several that belong together.
        option: &'static str,
        /// What is wrong with the value.
        problem: String,
    },
    /// The URL of a worker is invalid.
    #[error("--worker-urls: {0}")]
    WorkerUrl(#[from] WorkerUrlError),
}

impl ConfigError {
    /// The value of `option` is invalid because of `problem`.
    pub fn option(option: &'static str, problem: impl ToString) -> Self {
        Self::Option { option, problem: problem.to_string() }
    }
}
