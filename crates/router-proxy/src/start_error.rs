//! Why a router did not start.

use crate::models::{GroupError, JoinError};
use router_config::ConfigError;
use router_core::PolicyError;
use router_telemetry::{AccessLogError, RecorderError};

use std::net::SocketAddr;

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file that an option names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The threads that serve clients cannot start.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// Recording cannot start.
    #[error(transparent)]
    Record(#[from] RecorderError),
    /// A policy cannot be built.
    #[error(transparent)]
    Policy(PolicyError),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// A worker cannot join.
    #[error("{0}")]
    Candidate(String),
}

impl From<JoinError> for StartError {
    fn from(error: JoinError) -> Self {
        Self::Candidate(error.to_string())
    }
}

impl From<GroupError> for StartError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Policy(error) => Self::Policy(error),
            GroupError::Recorder(error) => Self::Record(error),
            GroupError::Lineup(error) => Self::Candidate(error.to_string()),
        }
    }
}
