//! The certificate that clients see.

use super::reloading_cert::ReloadingCert;
use router_config::CertificateFiles;
use router_upstream::tls::{HTTP_1_1, TlsError, provider};
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// ALPN protocol of HTTP/2.
pub(crate) const HTTP_2: &[u8] = b"h2";

/// What a client may choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlpnProtocols {
    /// HTTP/2, else HTTP/1.1.
    Http2,
    /// HTTP/1.1 alone.
    Http1,
}

/// The certificate that the router shows to clients.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    cert: Arc<ReloadingCert>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// Reads a certificate chain and its key. Clients are offered `protocols`.
    ///
    /// # Errors
    /// When one of the files cannot be used.
    pub fn load(files: CertificateFiles, protocols: AlpnProtocols) -> Result<Self, TlsError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = builder.with_no_client_auth();
        let cert = Arc::new(ReloadingCert::load(files)?);
        let mut config = builder.with_cert_resolver(Arc::clone(&cert) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = match protocols {
            AlpnProtocols::Http2 => vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()],
            AlpnProtocols::Http1 => vec![HTTP_1_1.to_vec()],
        };
        Ok(Self { config: Arc::new(config), cert })
    }

    /// Reads both files again. New connections get the new certificate; open ones stay as they are. Returns whether the
    /// certificate has changed.
    ///
    /// # Errors
    /// When one of the files cannot be used; the old certificate stays in use.
    pub async fn reload(&self) -> Result<bool, TlsError> {
        let cert = Arc::clone(&self.cert);
        // Reading files may block.
        tokio::task::spawn_blocking(move || cert.reload()).await.unwrap_or(Ok(false))
    }

    /// Accepts TLS connections of clients.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}
