//! TLS on both sides, by rustls with ring: no OpenSSL, no C beyond a C compiler.

use super::reloading_cert::Shown;
use router_config::{CertificateFiles, WorkerTlsFiles};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What both sides speak.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate or key cannot be used. It names the file and shows nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file could not be read, or is no PEM.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Certificate and key do not belong together, or rustls cannot use them.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// This machine has no list of certificate authorities.
    #[error("no certificate authority is known: give --ca-cert-paths, or install the system's certificates")]
    NoRoots,
    /// rustls refuses its own defaults; never in practice.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The certificate that the router shows to clients.
#[derive(Clone)]
pub(crate) struct ServerTls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// Reads a certificate chain and its key.
    ///
    /// # Errors
    /// When one of the files cannot be used.
    pub(crate) fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_no_client_auth();
        let shown = Arc::new(Shown::load(files)?);
        let mut config = builder.with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Reads both files again; new connections see what stands there now, and those that are open stay. Tells whether
    /// anything is new.
    ///
    /// # Errors
    /// When one of the files cannot be used; then the certificate stays as it was.
    pub(crate) async fn renew(&self) -> Result<bool, TlsError> {
        let shown = Arc::clone(&self.shown);
        // Certificates may lie on a disk that is slow to answer.
        tokio::task::spawn_blocking(move || shown.renew()).await.unwrap_or(Ok(false))
    }

    /// Takes connections of clients.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// Whom the router trusts among workers, and what it shows them.
#[derive(Default)]
pub(crate) struct WorkerTls {
    files: WorkerTlsFiles,
    /// Made when the first worker that speaks TLS joins: most fleets have none, and the system's list is long.
    config: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for WorkerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerTls")
    }
}

impl WorkerTls {
    /// Reads the files that are named.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(crate) fn load(files: WorkerTlsFiles) -> Result<Self, TlsError> {
        let named = files != WorkerTlsFiles::default();
        let tls = Self { files, config: OnceLock::new() };
        if named {
            // What is wrong with a file is to be told at start-up.
            tls.config()?;
        }
        Ok(tls)
    }

    /// Makes connections to a worker on `host`.
    pub(crate) fn connector(&self, host: &str) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
        let fail = |e: rustls::pki_types::InvalidDnsNameError| TlsError::File {
            path: host.into(),
            problem: e.to_string(),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(fail)?;
        Ok((TlsConnector::from(self.config()?), name))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(self.roots()?);
        let mut config = match &self.files.identity {
            Some(CertificateFiles { cert, key }) => builder
                .with_client_auth_cert(certificates(cert)?, private_key(key)?)
                .map_err(|source| TlsError::Unusable { path: cert.clone(), source })?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for path in &self.files.authorities {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.clone(), source })?;
            }
        }
        if self.files.authorities.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
    }
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |problem| TlsError::File { path: path.to_owned(), problem };
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| fail(e.to_string()))?;
    if all.is_empty() { Err(fail("holds no certificate in PEM form".to_owned())) } else { Ok(all) }
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| TlsError::File { path: path.to_owned(), problem: e.to_string() })
}
