//! Why a router did not start.

use router_config::ConfigError;
use router_telemetry::{AccessLogError, RecorderError};
use router_upstream::MembershipError;
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
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// A worker cannot join.
    #[error("{0}")]
    Candidate(String),
}

impl From<MembershipError> for StartError {
    fn from(error: MembershipError) -> Self {
        Self::Candidate(error.to_string())
    }
}
