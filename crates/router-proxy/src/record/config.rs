//! What is recorded, and where.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How recorded rows look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RecordFormat {
    /// Comma-separated values with one header line.
    #[default]
    Csv,
    /// One JSON object a line; unknown values are left out.
    Jsonl,
}

impl RecordFormat {
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Recording to files.
#[derive(Clone, Debug)]
pub struct RecordConfig {
    /// Where the files are made; created when missing.
    pub dir: PathBuf,
    /// First part of the files' names.
    pub stem: String,
    /// How rows look.
    pub format: RecordFormat,
    /// A file that has grown to this many bytes is followed by a new one.
    pub max_file_bytes: u64,
    /// Whether a second file has a row per candidate of each decision.
    pub candidates: bool,
}

/// Request traces in memory.
#[derive(Clone, Copy, Debug)]
pub struct TraceConfig {
    /// Most traces; the oldest goes first.
    pub max_entries: usize,
    /// A trace older than this is gone.
    pub ttl: Duration,
}
