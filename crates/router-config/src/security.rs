//! API keys, TLS certificates and CORS.

use crate::checks::address_if;
use crate::error::ConfigError;
use crate::options::Options;
use crate::secret::Secret;
use http::HeaderValue;
use std::net::SocketAddr;
use std::path::PathBuf;

/// API keys, TLS certificates and CORS.
#[derive(Debug, Default)]
pub struct SecurityConfig {
    /// The accepted API keys.
    pub credentials: Vec<Credential>,
    /// Whether other machines may use the admin routes when no admin key is configured.
    pub remote_admin: bool,
    /// Address of the admin port; `None` when the admin routes are on the main port.
    pub admin: Option<SocketAddr>,
    /// Whether the page `/dashboard` and the stream `/v1/live` are served.
    pub dashboard: bool,
    /// The certificate presented to clients; `None` for plain HTTP.
    pub tls: Option<CertificateFiles>,
    /// Origins allowed by CORS; `None` for no CORS headers.
    pub cors: Option<AllowedOrigins>,
}

/// One accepted API key.
#[derive(Clone, PartialEq, Debug)]
pub struct Credential {
    /// What the key allows.
    pub role: Role,
    /// The key itself.
    pub key: Secret,
}

/// What a key allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Client routes.
    User,
    /// Client routes and admin routes.
    Admin,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Files for TLS towards workers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WorkerTlsFiles {
    /// The only trusted certificate authorities; those of the system when empty.
    pub authorities: Vec<PathBuf>,
    /// Client certificate, presented to workers that request one.
    pub identity: Option<CertificateFiles>,
}

/// Origins whose pages may call the router from a browser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These, in the form that browsers send.
    List(Vec<HeaderValue>),
}

/// Why a key is invalid. The message never contains a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialError {
    /// An entry is not `ID:NAME:ROLE:KEY`.
    #[error("entry {0} is not ID:NAME:ROLE:KEY")]
    Shape(usize),
    /// The role of an entry is neither `admin` nor `user`.
    #[error("entry {0}: the role must be admin or user")]
    Role(usize),
    /// A key is empty or cannot be sent in a header.
    #[error("a key must be one or more printable ASCII characters without spaces")]
    Unusable,
}

impl Credential {
    /// An API key with a role.
    ///
    /// # Errors
    /// When the key is empty or cannot be sent in a header.
    pub fn new(role: Role, key: Secret) -> Result<Self, CredentialError> {
        let text = key.expose();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(CredentialError::Unusable);
        }
        Ok(Self { role, key })
    }

    /// The credentials of `--control-plane-api-keys`, each `ID:NAME:ROLE:KEY`. The key may contain colons.
    ///
    /// # Errors
    /// When an entry is invalid. The message names its position, never its text.
    pub fn parse_list(entries: &[Secret]) -> Result<Vec<Self>, CredentialError> {
        (1..).zip(entries).map(|(position, entry)| Self::parse(position, entry)).collect()
    }

    fn parse(position: usize, entry: &Secret) -> Result<Self, CredentialError> {
        let mut parts = entry.expose().splitn(4, ':');
        let (Some(_id), Some(_name), Some(role), Some(key)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(CredentialError::Shape(position));
        };
        let role = match role.to_ascii_lowercase().as_str() {
            "admin" => Role::Admin,
            "user" => Role::User,
            _ => return Err(CredentialError::Role(position)),
        };
        Self::new(role, Secret::from(key.to_owned()))
    }
}

impl AllowedOrigins {
    /// Parses the values of `--cors-allowed-origins`; `None` when there are none.
    ///
    /// # Errors
    /// For the first value that is not an origin.
    pub fn parse(origins: &[String]) -> Result<Option<Self>, ConfigError> {
        if origins.is_empty() {
            return Ok(None);
        }
        if origins.iter().any(|o| o == "*") {
            return Ok(Some(Self::Any));
        }
        let parsed = origins.iter().map(|text| {
            origin(text).ok_or_else(|| {
                let problem = format!(
                    "'{text}' is not an origin; write SCHEME://HOST or SCHEME://HOST:PORT without a path, or *"
                );
                ConfigError::option("--cors-allowed-origins", problem)
            })
        });
        Ok(Some(Self::List(parsed.collect::<Result<_, _>>()?)))
    }
}

/// The origin in the form that browsers send, if `text` is one.
fn origin(text: &str) -> Option<HeaderValue> {
    let url = url::Url::parse(text).ok()?;
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let whole = plain && url.has_host() && url.username().is_empty() && url.password().is_none();
    whole.then(|| HeaderValue::from_str(&url.origin().ascii_serialization()).ok())?
}

impl Options {
    pub(crate) fn check_security(&self) -> Result<SecurityConfig, ConfigError> {
        let mut credentials = Vec::new();
        for (option, role, key) in
            [("--api-key", Role::User, &self.api_key), ("--admin-api-key", Role::Admin, &self.admin_api_key)]
        {
            let Some(key) = key else { continue };
            let credential = Credential::new(role, key.clone());
            credentials.push(credential.map_err(|e| ConfigError::option(option, e))?);
        }
        let listed = Credential::parse_list(&self.control_plane_api_keys);
        credentials.extend(listed.map_err(|e| ConfigError::option("--control-plane-api-keys", e))?);
        Ok(SecurityConfig {
            credentials,
            remote_admin: self.allow_remote_admin,
            admin: address_if("--admin-host", &self.admin_host, self.admin_port)?,
            dashboard: !self.no_dashboard,
            tls: certificate(
                NamedFile { option: "--tls-cert-path", path: self.tls_cert_path.as_ref() },
                NamedFile { option: "--tls-key-path", path: self.tls_key_path.as_ref() },
            )?,
            cors: AllowedOrigins::parse(&self.cors_allowed_origins)?,
        })
    }

    pub(crate) fn check_worker_tls(&self) -> Result<WorkerTlsFiles, ConfigError> {
        let identity = certificate(
            NamedFile { option: "--client-cert-path", path: self.client_cert_path.as_ref() },
            NamedFile { option: "--client-key-path", path: self.client_key_path.as_ref() },
        )?;
        Ok(WorkerTlsFiles { authorities: self.ca_cert_paths.clone(), identity })
    }

    /// `authorization` header for workers that have no key of their own.
    pub(crate) fn check_worker_key(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Some(key) = &self.worker_api_key else { return Ok(None) };
        let value = key.bearer().filter(|_| !key.expose().is_empty());
        value.map(Some).ok_or_else(|| ConfigError::option("--worker-api-key", "cannot be sent in a header"))
    }

    /// Sets the secrets after a merge through JSON, which leaves secrets out.
    pub(crate) fn keep_secrets(self, flags: Self, file: Self, given: impl Fn(&str) -> bool) -> Self {
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

/// A file with the option that names it.
#[derive(Clone, Copy)]
struct NamedFile<'a> {
    option: &'static str,
    path: Option<&'a PathBuf>,
}

/// A certificate and its key; both or none must be given.
fn certificate(cert: NamedFile<'_>, key: NamedFile<'_>) -> Result<Option<CertificateFiles>, ConfigError> {
    let missing = |missing: NamedFile<'_>, given: NamedFile<'_>| {
        Err(ConfigError::option(missing.option, format!("is required with {}", given.option)))
    };
    match (cert.path, key.path) {
        (Some(cert), Some(key)) => Ok(Some(CertificateFiles { cert: cert.clone(), key: key.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) => missing(key, cert),
        (None, Some(_)) => missing(cert, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_become_what_browsers_send() {
        for (text, sent) in [
            ("https://chat.example", Some("https://chat.example")),
            ("https://chat.example/", Some("https://chat.example")),
            ("HTTPS://Chat.Example:443", Some("https://chat.example")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("chat.example", None),
            ("https://chat.example/app", None),
            ("https://", None),
            ("", None),
        ] {
            let parsed = origin(text);
            assert_eq!(parsed.as_ref().and_then(|v| v.to_str().ok()), sent, "{text}");
        }
    }

    #[test]
    fn invalid_keys_are_named_by_position() {
        let refuse = |entry: &str| {
            let entries = ["1:a:admin:fine", entry].map(|e| Secret::from(e.to_owned()));
            Credential::parse_list(&entries).unwrap_err().to_string()
        };
        for (entry, part) in [("hush", "entry 2"), ("a:b:root:hush", "entry 2"), ("a:b:admin:hu sh", "ASCII")]
        {
            let text = refuse(entry);
            assert!(text.contains(part) && !text.contains("hu"), "{text}");
        }
    }
}
