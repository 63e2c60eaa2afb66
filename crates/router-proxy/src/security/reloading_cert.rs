//! The router's certificate, which may be renewed while it serves.

use super::tls::{certificates, private_key, provider};
use super::{ServerTls, TlsError};
use arc_swap::ArcSwap;
use router_config::CertificateFiles;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are looked at. Certificates are renewed days before they end.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate chain with its key, as it stood in two files when they were last fit for use.
#[derive(Debug)]
pub(super) struct Shown {
    files: CertificateFiles,
    current: ArcSwap<CertifiedKey>,
}

impl Shown {
    pub(super) fn load(files: CertificateFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Tells whether the certificate is another one.
    pub(super) fn renew(&self) -> Result<bool, TlsError> {
        let new = read(&self.files)?;
        let is_new = new.cert != self.current.load().cert;
        if is_new {
            self.current.store(Arc::new(new));
        }
        Ok(is_new)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// A key that is not the certificate's is an error, as it is between the writing of the one file and of the other.
fn read(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let CertificateFiles { cert, key } = files;
    CertifiedKey::from_der(certificates(cert)?, private_key(key)?, &provider())
        .map_err(|source| TlsError::Unusable { path: cert.clone(), source })
}

/// Looks at the files of a certificate until the router stops.
pub(crate) async fn keep_fresh(tls: ServerTls, stop: CancellationToken) {
    let mut last = String::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
        match tls.renew().await {
            Ok(is_new) => {
                last.clear();
                if is_new {
                    info!("the certificate has been renewed");
                }
            }
            // Half a renewal is no news, and the same trouble is told once.
            Err(error) => {
                let problem = error.to_string();
                if problem != last {
                    warn!("the certificate stays as it is: {problem}");
                    last = problem;
                }
            }
        }
    }
}
