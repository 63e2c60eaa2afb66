//! What is recorded, and where.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Format of recorded files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    /// Comma-separated values with one header line.
    #[default]
    Csv,
    /// One JSON object per line; unknown values are left out.
    Jsonl,
}

impl RecordFormat {
    /// File name extension.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Recording to files.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// Directory of the files; created when missing.
    pub dir: PathBuf,
    /// First part of the file names.
    pub stem: String,
    /// Format of the files.
    pub format: RecordFormat,
    /// Size at which a file is rotated, in bytes.
    pub max_file_bytes: u64,
    /// Whether a second file has one row per candidate of each decision.
    pub candidates: bool,
}

/// Request traces in memory.
#[derive(Clone, Copy, Debug)]
pub struct TraceConfig {
    /// Maximum number of traces; the oldest is dropped first.
    pub max_entries: usize,
    /// How long a trace is kept.
    pub ttl: Duration,
}
