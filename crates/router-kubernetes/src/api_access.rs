//! The client of the API server, which is made again when its credentials are refused.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use parking_lot::Mutex;
use std::path::PathBuf;

/// Why no request was answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiFailure {
    /// The version from which to go on is too old, or not of this cluster: everything has to be listed again.
    #[error("the API server does not have the changes since the last one any more")]
    Expired,
    /// The credentials were refused.
    #[error("401: the API server refused the credentials: {0}")]
    Unauthorized(String),
    /// It did not answer in time.
    #[error("the API server did not answer within {0} s")]
    TimedOut(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<kube::Error> for ApiFailure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => (*status).into(),
            error => Self::Other(chain(&error)),
        }
    }
}

impl From<kube::core::Status> for ApiFailure {
    fn from(status: kube::core::Status) -> Self {
        // A version that the cluster has not reached yet is one of before it was restored.
        let is_ahead = status.code == 504 && status.message.contains("Too large resource version");
        match status.code {
            410 => Self::Expired,
            _ if is_ahead => Self::Expired,
            401 => Self::Unauthorized(status.message),
            code => Self::Other(format!("{code} {}: {}", status.reason, status.message)),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// Makes clients of the API server.
#[derive(Debug)]
pub(crate) struct ApiAccess {
    kubeconfig: Option<PathBuf>,
    client: Mutex<Option<CachedClient>>,
}

struct CachedClient(Client);

impl std::fmt::Debug for CachedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl ApiAccess {
    pub(crate) const fn new(kubeconfig: Option<PathBuf>) -> Self {
        Self { kubeconfig, client: Mutex::new(None) }
    }

    /// A client with the credentials as they were when the last ones were refused, or at the start.
    pub(crate) async fn client(&self) -> Result<Client, ApiFailure> {
        if let Some(CachedClient(client)) = &*self.client.lock() {
            return Ok(client.clone());
        }
        let mut config = self.config().await.map_err(ApiFailure::Other)?;
        // The caller waits longer after each failure, and says so in the log.
        config.default_retry = false;
        let client = Client::try_from(config)?;
        *self.client.lock() = Some(CachedClient(client.clone()));
        Ok(client)
    }

    async fn config(&self) -> Result<Config, String> {
        let Some(path) = &self.kubeconfig else {
            return Config::infer().await.map_err(|error| chain(&error));
        };
        let file = Kubeconfig::read_from(path).map_err(|error| chain(&error))?;
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(file, &options).await.map_err(|error| chain(&error))
    }

    /// Forgets the client, so that the next one reads the token again: the one in use was refused.
    pub(crate) fn renew(&self) {
        *self.client.lock() = None;
    }
}
