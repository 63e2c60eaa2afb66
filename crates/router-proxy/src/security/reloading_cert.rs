//! The router's certificate, reloaded when its files change.

use super::ServerTls;
use arc_swap::ArcSwap;
use router_config::CertificateFiles;
use router_upstream::tls::{TlsError, certificates, private_key, provider};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are read. Certificates are renewed days before they expire, so this need not be short.
const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// A certificate chain with its key: the last pair of the two files that was valid.
#[derive(Debug)]
pub(super) struct ReloadingCert {
    files: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
}

impl ReloadingCert {
    pub(super) fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Returns whether the certificate has changed.
    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        let new = read(&self.files)?;
        let is_new = new.cert != self.current.load().cert;
        if is_new {
            self.current.store(Arc::new(new));
        }
        Ok(is_new)
    }
}

impl ResolvesServerCert for ReloadingCert {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Reads both files. A key that does not match the certificate is an error, as when only one file has been replaced yet.
fn read(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let CertificateFiles { cert, key } = files;
    CertifiedKey::from_der(certificates(cert)?, private_key(key)?, &provider())
        .map_err(|source| TlsError::Unusable { path: cert.clone(), source })
}

/// Reloads the certificate every 10 s, when its files have changed, until the router stops.
pub async fn watch_certificate(tls: ServerTls, stop: CancellationToken) {
    let mut last_problem = String::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => return,
        }
        match tls.reload().await {
            Ok(is_new) => {
                last_problem.clear();
                if is_new {
                    info!("reloaded the TLS certificate");
                }
            }
            // The same problem is logged once.
            Err(error) => {
                let problem = error.to_string();
                if problem != last_problem {
                    warn!("cannot reload the TLS certificate, keeping the old one: {problem}");
                    last_problem = problem;
                }
            }
        }
    }
}
