//! Keys, certificates, and the web pages that may call.

use crate::checks::address;
use crate::error::ConfigError;
use crate::options::Options;
use crate::secret::Secret;
use http::HeaderValue;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who may send which requests, and over what wire.
#[derive(Debug, Default)]
pub struct SecurityConfig {
    /// The keys that are accepted.
    pub credentials: Vec<Credential>,
    /// Where the admin routes are, if not on the main port.
    pub admin: Option<SocketAddr>,
    /// The certificate that clients see; plain HTTP when absent.
    pub tls: Option<CertificateFiles>,
    /// The web pages that may call; none are told so when absent.
    pub cors: Option<AllowedOrigins>,
}

/// One key that is accepted from clients.
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
    /// The routes of clients.
    User,
    /// Those, and the admin routes.
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

/// What the router needs for TLS towards workers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WorkerTlsFiles {
    /// Certificate authorities that are trusted, and no others; those of the system where there are none.
    pub authorities: Vec<PathBuf>,
    /// Shown to workers that ask for a certificate.
    pub identity: Option<CertificateFiles>,
}

/// The origins whose pages may call the router from a browser.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AllowedOrigins {
    /// Every origin.
    Any,
    /// These, spelled as browsers send them.
    List(Vec<HeaderValue>),
}

/// Why a key is refused. It shows no key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CredentialError {
    /// An entry has another shape.
    #[error("entry {0} is not ID:NAME:ROLE:KEY")]
    Shape(usize),
    /// An entry's role is neither of the two.
    #[error("entry {0}: the role must be admin or user")]
    Role(usize),
    /// A key is empty, or could not stand in a header.
    #[error("a key must be one or more printable ASCII characters without spaces")]
    Unusable,
}

impl Credential {
    /// A key for one role.
    ///
    /// # Errors
    /// When the key could not be sent in a header.
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
    /// When an entry has another shape; it is named by its position, never by its text.
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
    /// Parses the values of `--cors-allowed-origins`; none of them means no CORS.
    ///
    /// # Errors
    /// Names the first that is no origin.
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

/// The origin as browsers write it, if the text is one.
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
            admin: match self.admin_port {
                Some(port) => Some(address("--admin-host", &self.admin_host, port)?),
                None => None,
            },
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

    /// What is sent to workers that have no key of their own.
    pub(crate) fn check_worker_key(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Some(key) = &self.worker_api_key else { return Ok(None) };
        let value = key.bearer().filter(|_| !key.expose().is_empty());
        value.map(Some).ok_or_else(|| ConfigError::option("--worker-api-key", "cannot be sent in a header"))
    }

    /// Sets the secrets after the other options went through JSON, which secrets must not.
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

/// A certificate and its key, which are of use only together.
fn certificate(cert: NamedFile<'_>, key: NamedFile<'_>) -> Result<Option<CertificateFiles>, ConfigError> {
    let missing = |missing: NamedFile<'_>, given: NamedFile<'_>| {
        Err(ConfigError::option(missing.option, format!("is missing; {} needs it", given.option)))
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
    fn origins_are_spelled_as_by_browsers() {
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
    fn bad_keys_are_named_by_position() {
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
