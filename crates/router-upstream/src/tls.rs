//! TLS to workers, and what TLS to clients shares with it, by rustls with ring (no OpenSSL).

use crate::target::WorkerProtocol;
use router_config::{CertificateFiles, WorkerTlsFiles};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;

/// ALPN protocol of HTTP/2, which gRPC needs.
const HTTP_2: &[u8] = b"h2";
/// ALPN protocol of HTTP/1.1.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate or key cannot be used. The message names the file and shows none of its contents.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or is not PEM.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Certificate and key do not match, or rustls cannot use them.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// This machine has no list of certificate authorities.
    #[error("no certificate authority found: give --ca-cert-paths or install the system's certificates")]
    NoRoots,
    /// rustls rejects its own defaults; does not happen in practice.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// TLS to workers: trusted authorities, and the client certificate if there is one.
#[derive(Default)]
pub struct WorkerTls {
    files: WorkerTlsFiles,
    /// Built when the first https worker joins: most fleets have none, and the system's list of authorities is long.
    config: OnceLock<Arc<ClientConfig>>,
}

impl fmt::Debug for WorkerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerTls")
    }
}

impl WorkerTls {
    /// Reads the configured files.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn load(files: WorkerTlsFiles) -> Result<Self, TlsError> {
        let named = files != WorkerTlsFiles::default();
        let tls = Self { files, config: OnceLock::new() };
        if named {
            // An error in a file is reported at start-up.
            tls.config()?;
        }
        Ok(tls)
    }

    /// A connector and the server name for a worker on `host`, which is to speak `protocol`.
    pub(crate) fn connector(
        &self,
        host: &str,
        protocol: WorkerProtocol,
    ) -> Result<(TlsConnector, ServerName<'static>), TlsError> {
        let fail = |e: rustls::pki_types::InvalidDnsNameError| TlsError::File {
            path: host.into(),
            problem: e.to_string(),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(fail)?;
        let mut config = self.config()?;
        if protocol == WorkerProtocol::Grpc {
            Arc::make_mut(&mut config).alpn_protocols = vec![HTTP_2.to_vec()];
        }
        Ok((TlsConnector::from(config), name))
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

/// The cryptography of all TLS in this router: ring.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// All certificates of a PEM file, in its order.
///
/// # Errors
/// When the file cannot be read or contains no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |problem| TlsError::File { path: path.to_owned(), problem };
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| fail(e.to_string()))?;
    if all.is_empty() { Err(fail("has no certificate in PEM format".to_owned())) } else { Ok(all) }
}

/// The private key of a PEM file.
///
/// # Errors
/// When the file cannot be read or contains no key.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| TlsError::File { path: path.to_owned(), problem: e.to_string() })
}
