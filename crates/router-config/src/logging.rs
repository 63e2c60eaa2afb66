//! Log level and log format, and the access log.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Minimum severity of logged events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step of a request.
    Trace,
    /// Details for debugging.
    Debug,
    /// State changes of workers and of the router.
    Info,
    /// Possible problems.
    #[value(alias = "warning")]
    #[serde(alias = "warning")]
    Warn,
    /// Problems.
    #[value(alias = "critical")]
    #[serde(alias = "critical")]
    Error,
}

/// Format of log lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The access log: one line for each request.
#[derive(Clone, PartialEq, Debug)]
pub struct AccessLogConfig {
    /// The file; `None` for standard output.
    pub path: Option<PathBuf>,
    /// Format of its lines.
    pub format: LogFormat,
    /// Share of the requests that get a line, above 0 to 1.
    pub sample: f64,
}
