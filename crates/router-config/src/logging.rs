//! What is logged, and how it looks.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything, a line per step of a request.
    Trace,
    /// What a developer wants to see.
    Debug,
    /// One line per change of a worker's state or of the router's own.
    Info,
    /// What may need a look.
    #[value(alias = "warning")]
    #[serde(alias = "warning")]
    Warn,
    /// What needs a look.
    #[value(alias = "critical")]
    #[serde(alias = "critical")]
    Error,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
