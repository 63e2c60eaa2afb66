//! By which protocol workers are reached.

use crate::worker_url::{WorkerUrl, WorkerUrlError};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// By which protocol workers with http:// URLs are reached. A worker with a grpc:// URL is reached by gRPC in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionMode {
    /// HTTP/1.1.
    #[default]
    Http,
    /// SGLang's gRPC service, whose port the URL has.
    Grpc,
    /// HTTP/1.1, and SGLang's gRPC service for the model's requests where the server says that it has one.
    GrpcPort,
}

impl ConnectionMode {
    /// The URL by which a worker is reached.
    ///
    /// # Errors
    /// When it has a path or no port, which gRPC does not allow.
    pub fn of_url(self, url: WorkerUrl) -> Result<WorkerUrl, WorkerUrlError> {
        match self {
            Self::Grpc => url.by_grpc(),
            Self::Http | Self::GrpcPort => Ok(url),
        }
    }
}
