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
    /// The keys of the options at fault; empty where the error is about the file as a whole.
    pub fn keys(&self) -> Vec<String> {
        let flags = match self {
            Self::Read { .. } | Self::Parse { .. } => return Vec::new(),
            Self::Option { option, .. } => option,
            Self::WorkerUrl(_) => "--worker-urls",
        };
        let key = |flag: &str| match flag {
            "--policy-option" => "policy_options".to_owned(),
            "--shadow-policy-option" => "shadow_policy_options".to_owned(),
            flag => flag.trim_matches(['-', '[', ']']).replace('-', "_"),
        };
        flags.split(", ").map(key).collect()
    }

    /// The value of `option` is invalid because of `problem`.
    pub fn option(option: &'static str, problem: impl ToString) -> Self {
        Self::Option { option, problem: problem.to_string() }
    }
}
