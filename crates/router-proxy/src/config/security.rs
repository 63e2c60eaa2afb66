//! Options about who may ask, and over what wire.

use super::{ConfigError, Options, address, positive};
use crate::security::{Cors, Keys, ServerTls, WorkerTls};
use crate::workers::Dial;
use http::HeaderValue;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Who may ask, and over what wire.
#[derive(Debug)]
pub struct SecurityConfig {
    /// The keys that are accepted.
    pub keys: Keys,
    /// Where the admin routes are, if not on the main port.
    pub admin: Option<SocketAddr>,
    /// The certificate that clients see; plain HTTP when absent.
    pub tls: Option<ServerTls>,
    /// The web pages that may call; none are told so when absent.
    pub cors: Option<Cors>,
}

impl Options {
    pub(super) fn check_security(&self) -> Result<SecurityConfig, ConfigError> {
        let mut keys = Keys::default();
        if let Some(key) = &self.api_key {
            keys.client(key).map_err(|e| refuse("--api-key", &e))?;
        }
        if let Some(key) = &self.admin_api_key {
            keys.admin(key).map_err(|e| refuse("--admin-api-key", &e))?;
        }
        keys.control_plane(&self.control_plane_api_keys)
            .map_err(|e| refuse("--control-plane-api-keys", &e))?;
        let tls = pair(
            ("--tls-cert-path", self.tls_cert_path.as_ref()),
            ("--tls-key-path", self.tls_key_path.as_ref()),
        )?;
        let load = |(cert, key): (PathBuf, PathBuf)| ServerTls::load(&cert, &key);
        Ok(SecurityConfig {
            keys,
            admin: match self.admin_port {
                Some(port) => Some(address("--admin-host", &self.admin_host, port)?),
                None => None,
            },
            tls: tls.map(load).transpose().map_err(|e| refuse("--tls-cert-path, --tls-key-path", &e))?,
            cors: Cors::new(&self.cors_allowed_origins).map_err(|e| refuse("--cors-allowed-origins", &e))?,
        })
    }

    pub(super) fn check_dial(&self) -> Result<Dial, ConfigError> {
        let identity = pair(
            ("--client-cert-path", self.client_cert_path.as_ref()),
            ("--client-key-path", self.client_key_path.as_ref()),
        )?;
        let tls = WorkerTls::load(self.ca_cert_paths.clone(), identity);
        let tls = tls.map_err(|e| refuse("--ca-cert-paths, --client-cert-path, --client-key-path", &e))?;
        let dial = Dial::new(positive("--connect-timeout-secs", self.connect_timeout_secs)?);
        Ok(Dial { tls: Arc::new(tls), ..dial })
    }

    /// What is sent to workers that have no key of their own.
    pub(super) fn check_worker_key(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Some(key) = &self.worker_api_key else { return Ok(None) };
        let value = key.bearer().filter(|_| !key.expose().is_empty());
        value.map(Some).ok_or_else(|| refuse("--worker-api-key", &"cannot be sent in a header"))
    }

    /// Puts the secrets where they belong after the other options went through JSON, which they must not.
    pub(super) fn keep_secrets(self, flags: Self, file: Self, given: impl Fn(&str) -> bool) -> Self {
        let of = |name: &str| if given(name) { &flags } else { &file };
        Self {
            api_key: of("api_key").api_key.clone(),
            admin_api_key: of("admin_api_key").admin_api_key.clone(),
            control_plane_api_keys: of("control_plane_api_keys").control_plane_api_keys.clone(),
            worker_api_key: of("worker_api_key").worker_api_key.clone(),
            ..self
        }
    }
}

/// Two files that are of use only together.
fn pair(
    one: (&'static str, Option<&PathBuf>),
    other: (&'static str, Option<&PathBuf>),
) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
    match (one, other) {
        ((_, Some(one)), (_, Some(other))) => Ok(Some((one.clone(), other.clone()))),
        ((_, None), (_, None)) => Ok(None),
        ((given, Some(_)), (missing, None)) | ((missing, None), (given, Some(_))) => {
            Err(refuse(missing, &format!("is missing; {given} needs it")))
        }
    }
}

fn refuse(option: &'static str, problem: &impl ToString) -> ConfigError {
    ConfigError::Option { option, problem: problem.to_string() }
}
