//! Why a configuration is refused.

use crate::worker_url::WorkerUrlError;
use router_core::PolicyError;
use std::path::PathBuf;

/// Why a configuration is refused: one line that names the key or flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("config file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML or has a key or value that does not belong.
    #[error("{origin}: {problem}")]
    Parse {
        /// Which text: a file, or one that was given as it is.
        origin: String,
        /// Where and why.
        problem: String,
    },
    /// One option's value is refused.
    #[error("{option}: {problem}")]
    Option {
        /// The flag, or several that belong together.
        option: &'static str,
        /// Why.
        problem: String,
    },
    /// A worker's URL is refused.
    #[error("--worker-urls: {0}")]
    WorkerUrl(#[from] WorkerUrlError),
    /// The policy or one of its options is refused.
    #[error("--policy: {0}")]
    Policy(#[from] PolicyError),
}

impl ConfigError {
    /// The value of `option` is refused because of `problem`.
    pub fn option(option: &'static str, problem: impl ToString) -> Self {
        Self::Option { option, problem: problem.to_string() }
    }
}
